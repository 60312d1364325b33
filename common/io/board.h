/* board: what a supervisor and its children show each other and whoever looks after them (io/admin), in
 * shared memory made before the first fork: the supervisor's own beat, and a place for each child with its
 * state and its meters (base/meter.h). The meters of a place go on when a successor takes it, so that
 * counters never fall; its gauges go with the process.
 *
 * One writer each: the supervisor writes the places' identity; a child what it owns, its sign of life and
 * its meters. It can write to nothing else (board_enter), so that one that runs wild misleads nobody. */
#ifndef HL_IO_BOARD_H
#define HL_IO_BOARD_H

#include "base/meter.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* PREFORK_MAX, as many that still finish while their successors work, and the other roles. */
#define BOARD_PLACES 544

enum board_state {
    BOARD_FREE,
    BOARD_STARTING,
    BOARD_READY,
    BOARD_GONE /* restarts */,
    BOARD_STATES
};

struct board_place {
    /* "worker-0", "janitor": role and index; "worker-0.1" while another one has that name. "" = never
     * used. A place may get another name when it is free, never another role. */
    char process[32];
    char role[16];
    _Atomic int state;  /* enum board_state */
    _Atomic bool extra; /* starts beside the one it replaces, or was replaced and finishes */
    _Atomic int64_t pid, started_ms;        /* clock_mono_ms() */
    _Atomic int64_t starts, crashes, hangs; /* of this place, ever */
};

struct board {
    _Atomic int64_t beat_ms; /* the supervisor came round; clock_mono_ms() */
    _Atomic int64_t started_ms;
    _Atomic bool draining;  /* from the signal on, with the delay before a drain */
    _Atomic bool was_ready; /* every process of the first role was, at once */
    struct board_place places[BOARD_PLACES];
    /* on pages of their own: what each child owns */
};

struct board *board_new(void); /* NULL: no memory (errno) */
void board_free(struct board *b);
/* BOARD_PLACES: the supervisor's own, of which only counters are shown. */
meter_cell *board_cells(const struct board *b, int place);
/* Last sign of life of the process there; clock_mono_ms(). */
_Atomic int64_t *board_beat(const struct board *b, int place);
/* In a child: from now on its meters are those of that place (-1: memory of its own), and it can only
 * read the rest. */
void board_enter(struct board *b, int place);

/* --- the supervisor's part ----------------------------------------------------------------- */

/* A place for a process of that role, until board_leave; -1: all are taken. */
int board_take(struct board *b, const char *role, const char *process, bool extra);
/* Its process was started; it is gone, and another one will be started (gone), or none (free). */
void board_start(struct board *b, int place, int64_t pid);
enum board_end { BOARD_EXPECTED, BOARD_CRASHED, BOARD_HUNG };
void board_end(struct board *b, int place, enum board_end how, enum board_state then);
void board_leave(struct board *b, int place);

/* --- for whoever looks --------------------------------------------------------------------- */

/* Children of that role: how many there are, how many of them are ready. */
void board_count(const struct board *b, const char *role, int *all, int *ready);
/* Of the ready ones of its role this is the first: for what one of them does for all. */
bool board_is_first(const struct board *b, int place);
/* Prometheus' text of the program's meters over all places, and what the board itself knows: build info,
 * children by role and state, starts, crashes, the supervisor's beat. */
void board_print(const struct board *b, enum meter_program program, struct buf *out);

#endif
