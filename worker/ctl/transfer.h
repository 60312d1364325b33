/* transfer: the file that hooklinectl export writes and import reads (PROTOCOL.md, "Exported queues"):
 * JSON lines; a header, records under the name of their place, and a trailer with the digest of all
 * before it. */
#ifndef HL_WORKER_CTL_TRANSFER_H
#define HL_WORKER_CTL_TRANSFER_H

#include "base/err.h"
#include "base/json.h"
#include "domain/queue_transfer.h"
#include "worker/ctl/ctl.h"
#include "worker/ctl/session.h"

#include <openssl/evp.h>
#include <stdio.h>

#define TRANSFER_VERSION 1

/* Of what is in the file. */
struct transfer_counts {
    int64_t records;
    int64_t of[TRANSFER_NKINDS];
};
void transfer_count(struct transfer_counts *c, enum transfer_kind kind);
/* Jobs among them. */
int64_t transfer_jobs(const struct transfer_counts *c);
/* What is remembered of jobs that are done, and of deliveries. */
int64_t transfer_remembered(const struct transfer_counts *c);
/* Appends ,"jobs":N,"dead":N,... */
void transfer_put_counts(struct buf *b, const struct transfer_counts *c);

/* --- writing ----------------------------------------------------------------------------- */

/* Each appends one line. */
struct transfer_origin {
    const char *prefix, *generation; /* "" = Redis was told none */
    const char *pause;               /* names the pause it was made in; NULL: queues were moving */
    const char *run_id, *holds;      /* of Redis; how much it held */
};
void transfer_line_header(struct buf *b, const struct transfer_origin *o);
void transfer_line_place(struct buf *b, enum transfer_place place);
void transfer_line_record(struct buf *b, const struct transfer_record *r);
void transfer_line_trailer(
    struct buf *b, const struct transfer_counts *c, const char digest[static 65]);

/* --- reading ----------------------------------------------------------------------------- */

enum transfer_line {
    TRANSFER_LINE_HEADER,
    TRANSFER_LINE_PLACE,
    TRANSFER_LINE_RECORD,
    TRANSFER_LINE_TRAILER,
    TRANSFER_LINE_NONE, /* the end of the file */
    TRANSFER_LINE_BAD,  /* err says why: torn, or none of ours */
};

/* A line, parsed. Zero-initialise; release before it is used again. */
struct transfer_item {
    json_t *root;
    enum transfer_place place;
    struct transfer_record record; /* borrows from here */
    struct transfer_value *values;
    struct buf bytes;
};
void transfer_item_release(struct transfer_item *i);

struct transfer_reader {
    FILE *file;
    char *line;
    size_t room;
    int64_t number, offset; /* of the last line; bytes behind its end */
    EVP_MD_CTX *hash;
    char digest[65]; /* of all before a trailer, when that was read */
};
/* NULL-safe release; the file stays open. */
void transfer_reader_init(struct transfer_reader *r, FILE *file);
void transfer_reader_release(struct transfer_reader *r);
enum transfer_line transfer_read(
    struct transfer_reader *r, struct transfer_item *item, struct hl_err *err);

/* Hex digest of the first len bytes; the context goes on with what follows. */
EVP_MD_CTX *transfer_hash_new(void);
void transfer_hash_hex(const EVP_MD_CTX *hash, char out[static 65]);

/* --- asking ------------------------------------------------------------------------------ */

/* What the rows say; CTL_OK, or the exit code after saying what went wrong. */
struct transfer_manners {
    char *generation; /* "" = none */
    char *pause;      /* NULL = not everything is paused and fenced */
    int64_t running, spools, open_producers, silent_producers;
};
int transfer_ask_manners(struct session *s, struct transfer_manners *m);
void transfer_manners_release(struct transfer_manners *m);
/* Says what moves; false when nothing does. */
bool transfer_moves(const struct transfer_manners *m, struct buf *why);

/* What Redis holds: jobs of both queues, those that wait for their time included, and dead letters.
 * `left` counts the entries that have left the streams: what is put back to wait for its time leaves
 * one, and could go from what is not read yet to what was read, while the number of jobs stays. */
struct transfer_holds {
    int64_t change, crawl, dead, left;
};
int transfer_ask_holds(struct session *s, struct transfer_holds *h);

/* --- progress ---------------------------------------------------------------------------- */

struct transfer_progress {
    bool shown; /* on a terminal, unless --quiet */
    const char *what;
    int64_t total, last_ms;
};
void transfer_progress_init(
    struct transfer_progress *p, bool quiet, const char *what, int64_t total);
void transfer_progress_show(struct transfer_progress *p, int64_t done);
void transfer_progress_end(struct transfer_progress *p);

#endif
