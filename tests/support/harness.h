/* harness: real PostgreSQL, real Redis, real programs, for tests. Everything private, in a
 * temporary folder, stopped by recorded pid. All calls are synchronous and abort the test
 * (Criterion assert) on trouble, unless they say otherwise. Tests wait for conditions, never for
 * time. */
#ifndef HL_TESTS_HARNESS_H
#define HL_TESTS_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* --- waiting ----------------------------------------------------------------------------- */
/* Evaluates cond every 10 ms until true; fails the test after timeout_ms, naming the condition. */
#define WAIT_FOR(cond, timeout_ms)                                                                 \
    do {                                                                                           \
        int64_t wait_end_ = harness_now_ms() + (timeout_ms);                                       \
        while (!(cond))                                                                            \
            harness_wait_step(wait_end_, #cond, __FILE__, __LINE__);                               \
    } while (0)
int64_t harness_now_ms(void);
void harness_wait_step(int64_t end_ms, const char *what, const char *file, int line);

/* --- memory that lives as long as the test --- */
void *harness_hold(void *p); /* frees p at exit; returns p */
char *harness_text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* --- folders and ports ------------------------------------------------------------------- */
const char *harness_dir(
    void); /* this test's own temporary folder, made on first call, removed at exit */
int harness_listen(int *port); /* a listening loopback socket on a free port; caller closes */
int harness_free_port(void);   /* a port nothing listens on, for "refused" cases */
const char *harness_build(
    void); /* folder of the built programs (HOOKLINE_BUILD, default "build") */

/* --- PostgreSQL -------------------------------------------------------------------------- */
/* URL of a fresh database in the suite's shared cluster (HOOKLINE_TEST_PG, set by tests/run.sh; a
 * cluster of this test's own is started when it is unset). migrated: with Hookline's schema,
 * copied from a template. Returned string is kept until exit. */
const char *harness_database(bool migrated);

struct test_pg; /* a cluster of the test's own, to be killed and restarted */
struct test_pg *test_pg_start(void);
/* The same with further options of the server, NULL-terminated ("-c", "ssl=on", NULL). */
struct test_pg *test_pg_start_with(const char *const *options);
struct test_pg *test_pg_standby(struct test_pg *primary); /* streams from it; takes reads */
void test_pg_promote(struct test_pg *standby);            /* waits until it takes writes */
void test_pg_give(const char *path);         /* a file to the server's account, closed to others */
const char *test_pg_url(struct test_pg *pg); /* a migrated database in it, over TCP loopback */
void test_pg_kill(struct test_pg *pg);    /* SIGKILL to the whole cluster, waits until it is gone */
void test_pg_restart(struct test_pg *pg); /* same data, same port; waits until it accepts */
void test_pg_pause(struct test_pg *pg);   /* SIGSTOP to every process of it: a hang */
void test_pg_resume(struct test_pg *pg);
void test_pg_free(struct test_pg *pg); /* stops and removes */

/* Runs SQL on a database; returns column 0 of row 0 as text ("" for NULL or no row), kept until
 * exit. */
const char *sql_text(const char *url, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
long sql_int(const char *url, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sql_exec(const char *url, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* --- Redis ------------------------------------------------------------------------------- */
struct test_redis; /* AOF on, noeviction, loopback TCP port */
struct test_redis *test_redis_start(void);
/* The same with further command line options, NULL-terminated ("--requirepass", "x", NULL). */
struct test_redis *test_redis_start_with(const char *const *options);
const char *test_redis_url(struct test_redis *r);
void test_redis_kill(struct test_redis *r);    /* SIGKILL */
void test_redis_restart(struct test_redis *r); /* same data, same port; waits until it answers */
void test_redis_pause(struct test_redis *r);
void test_redis_resume(struct test_redis *r);
void test_redis_free(struct test_redis *r);
/* A command as one line ("XLEN {hookline}:q:change"), blanks separate words; integer or string
 * answer as text, "" for nil, an array one element a line; an error answer fails the test. */
const char *redis_text(struct test_redis *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
long redis_int(struct test_redis *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* --- programs ---------------------------------------------------------------------------- */
/* A child in its own process group, killed at exit; its standard error and output go to a file. The
 * environment is PATH, HOME, TMPDIR and the sanitizers' options plus `env` ("NAME=value",
 * NULL-terminated; NULL = nothing more). listen_fd >= 0 is given by LISTEN_FDS. */
struct test_proc;
struct test_proc *test_proc_start(const char *const *argv, const char *const *env, int listen_fd);
pid_t test_proc_pid(const struct test_proc *p);
void test_proc_signal(struct test_proc *p, int signo);   /* the process only, not its group */
int test_proc_wait(struct test_proc *p, int timeout_ms); /* exit status, or 128 + signal */
bool test_proc_running(struct test_proc *p);
bool test_proc_logged(struct test_proc *p, const char *text); /* seen in its log so far */
/* A line of this event name that has this text as well. */
bool test_proc_logged_with(struct test_proc *p, const char *event, const char *text);
const char *test_proc_log(struct test_proc *p); /* whole log so far, kept until exit */
void test_proc_kill(struct test_proc *p);       /* SIGKILL to its whole group, reaped */
/* Living direct children of a process whose /proc/PID/cmdline or comm contains `match` (NULL =
 * all); returns how many were put in pids. */
int harness_children(pid_t parent, const char *match, pid_t *pids, int max);
char harness_proc_state(pid_t pid); /* letter of /proc/PID/stat; 0 when gone */

/* --- HTTP -------------------------------------------------------------------------------- */
struct test_reply {
    int status;          /* 0 = no answer (connection refused or closed) */
    const char *headers; /* raw header lines, kept until exit */
    const char *body;
    double seconds;
};
/* headers: "Name: value\r\n..." lines or NULL. Connects to 127.0.0.1:port, Connection: close. */
struct test_reply test_http(int port, const char *method, const char *path, const char *headers,
    const void *body, size_t len);
const char *test_reply_header(const struct test_reply *r, const char *name); /* NULL = absent */
/* A member of a JSON answer as text: "null" for null; "" = absent. */
const char *test_reply_member(const struct test_reply *r, const char *key);
/* Sends raw bytes, reads until the peer closes or timeout_ms passes without a byte. */
const char *test_http_raw(int port, const void *bytes, size_t len, int timeout_ms);
/* Hex HMAC-SHA256 of body. */
const char *test_sign(const char *secret, const void *body, size_t len);

#endif
