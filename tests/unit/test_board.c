/* Who has which place, and what the board says of itself. */
#include "io/board.h"

#include "base/buf.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct board *board;

static void make(void)
{
    board = board_new();
    cr_assert_not_null(board);
}

static void drop(void)
{
    board_free(board);
}

TestSuite(board, .init = make, .fini = drop);

static int start(const char *role, const char *process)
{
    int place = board_take(board, role, process, false);
    if (place >= 0)
        board_start(board, place, 1);
    return place;
}

static bool says(enum meter_program program, const char *line)
{
    struct buf out = {0};
    board_print(board, program, &out);
    const char *at = strstr(buf_str(&out), line);
    bool yes = at && at[strlen(line)] == '\n';
    buf_release(&out);
    return yes;
}

Test(board, a_name_belongs_to_one_process_at_a_time_and_its_place_comes_back_to_it)
{
    int first = start("worker", "worker-0"), second = start("worker", "worker-0"),
        third = start("worker", "worker-0");
    cr_expect_str_eq(board->places[first].process, "worker-0");
    cr_expect_str_eq(board->places[second].process, "worker-0.1");
    cr_expect_str_eq(board->places[third].process, "worker-0.2");
    cr_expect(first != second && second != third);
    board_leave(board, second);
    board_leave(board, first);
    cr_expect_eq(start("worker", "worker-0"), first);
    cr_expect_eq(start("worker", "worker-0"), second);
}

/* Whatever was counted stays with its role: places change names, never roles. */
Test(board, places_that_nobody_needs_are_given_to_others_of_their_role_only)
{
    char name[32];
    int janitor = start("janitor", "janitor");
    for (int i = 1; i < BOARD_PLACES; i++) {
        snprintf(name, sizeof(name), "worker-%d", i);
        cr_assert_geq(start("worker", name), 0);
    }
    cr_expect_eq(start("worker", "worker-new"), -1, "all are taken");
    board_leave(board, janitor);
    cr_expect_eq(start("worker", "worker-new"), -1, "it was the janitor's");
    board_leave(board, 17);
    cr_expect_eq(start("worker", "worker-new"), 17);
    cr_expect_str_eq(board->places[17].process, "worker-new");
    cr_expect_eq(start("janitor", "janitor"), janitor);
}

Test(board, names_and_roles_that_are_too_long_are_cut)
{
    char name[100];
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    int a = start(name, name), b = start(name, name);
    cr_expect_eq(strlen(board->places[a].process), sizeof(board->places[a].process) - 1);
    cr_expect_eq(strlen(board->places[a].role), sizeof(board->places[a].role) - 1);
    cr_expect_str_neq(board->places[a].process, board->places[b].process);
}

Test(board, ends_are_counted_by_what_they_were)
{
    int place = start("worker", "worker-0"), all, ready;
    meter_use(board_cells(board, place));
    meter_set(M_RSS, 0, 0, 5);
    meter_inc(M_SUPERSEDED, 0, 0);
    cr_expect(says(METER_W, "hookline_resident_bytes{process=\"worker-0\"} 5"));
    board_end(board, place, BOARD_EXPECTED, BOARD_GONE);
    cr_expect(says(METER_W, "hookline_process_crashes_total{role=\"worker\"} 0"));
    cr_expect(says(METER_W, "hookline_processes{role=\"worker\",state=\"gone\"} 1"));
    cr_expect_not(says(METER_W, "hookline_resident_bytes{process=\"worker-0\"} 5"));
    board_start(board, place, 2);
    board_end(board, place, BOARD_CRASHED, BOARD_GONE);
    board_start(board, place, 3);
    board_end(board, place, BOARD_HUNG, BOARD_GONE);
    board_count(board, "worker", &all, &ready);
    cr_expect(all == 1 && ready == 0);
    board_leave(board, place);
    board_count(board, "worker", &all, &ready);
    cr_expect_eq(all, 0);
    cr_expect(says(METER_W, "hookline_process_starts_total{role=\"worker\"} 3"));
    cr_expect(says(METER_W, "hookline_process_crashes_total{role=\"worker\"} 2"));
    cr_expect(says(METER_W, "hookline_process_hangs_total{role=\"worker\"} 1"));
    cr_expect(says(METER_W, "hookline_processes{role=\"worker\",state=\"gone\"} 0"));
    cr_expect(says(METER_W, "hookline_events_superseded_total 1"));
    meter_use(NULL);
}

Test(board, what_the_supervisor_counts_is_shown_too)
{
    start("producer", "producer-0");
    meter_use(board_cells(board, BOARD_PLACES));
    meter_inc(M_LOG_LINES, LEVEL_WARN, 0);
    meter_set(M_RSS, 0, 0, 5);
    cr_expect(says(METER_P, "hookline_log_lines_total{level=\"warn\"} 1"));
    cr_expect_not(says(METER_P, "hookline_resident_bytes{process=\"producer-0\"} 5"));
    cr_expect(says(METER_P,
        "hookline_build_info{version=\"" HOOKLINE_VERSION "\",program=\"hookline-producer\"} 1"));
    meter_use(NULL);
}
