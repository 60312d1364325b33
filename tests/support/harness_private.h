/* harness_private: what the parts of the test harness share; tests include harness.h only. */
#ifndef HL_TESTS_HARNESS_PRIVATE_H
#define HL_TESTS_HARNESS_PRIVATE_H

#include "tests/support/harness.h"

/* Fails the running test, with the last lines of every program's log. */
_Noreturn void harness_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Set by programs that are no Criterion test: told of the failure in its place; does not return. */
extern void (*harness_on_failure)(const char *text);
/* Takes an allocated string and keeps it until exit. */
const char *harness_keep(char *s);
/* A whole file as a string, cut at max bytes; "" when it cannot be read. Caller frees. */
char *harness_slurp(const char *path, size_t max);
void harness_remove_tree(const char *path);
void harness_pause(int ms);

/* How a child is started. */
struct spawn {
    const char *const *argv;
    const char *const *env; /* NULL = nothing beyond the basics */
    const char *name;       /* of its log file, in harness_dir() */
    int listen_fd;          /* -1 = none */
    int death_signal;       /* sent to it when the test process dies */
    bool unprivileged;      /* steps down from root: PostgreSQL refuses to run as root */
};
struct test_proc *harness_spawn(const struct spawn *s);
void test_proc_free(struct test_proc *p); /* after it was killed */
/* Every descendant of pid, and pid itself first; living ones only. */
int harness_tree(pid_t pid, pid_t *pids, int max);
/* SIGSTOP, which a process in a system call obeys only after it: waits until it stands. */
void harness_halt(pid_t pid);
/* SIGKILL to pid and all its descendants, however they are grouped; waits until they are gone. */
void harness_kill_tree(pid_t pid);
/* The account that stands in for root where a program refuses root; false = not root, stay. */
bool harness_unprivileged(unsigned *uid, unsigned *gid);
/* Ends PostgreSQL clusters in an orderly way; first step of the clean-up at exit. */
void harness_pg_stop_all(void);

#endif
