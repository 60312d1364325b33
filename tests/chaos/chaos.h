/* chaos: a whole Hookline under load and under faults, and the books that are checked afterwards.
 *
 *   chaos.c     the program: options, the timeline, the report
 *   stack.c     servers and programs: starts them, keeps them running, heals them
 *   load.c      clients that post events and write down every answer
 *   crawls.c    what those do that post crawls, and the checks of what became of them
 *   faults.c    the table of faults
 *   viewers.c   who looks on, and acts through the API, meanwhile
 *   operators.c people with hooklinectl amid the faults, and the checks of what it promised them
 *   history.c   triggers that record what happens to rows; the checks
 *   schedules.c short runs with a fixed order of events, one for each guarantee
 *
 * Two "hosts": each has a producer supervisor and a worker supervisor. Everything a run decides by
 * chance comes from its seed. */
#ifndef HL_TESTS_CHAOS_H
#define HL_TESTS_CHAOS_H

#include "base/buf.h"
#include "base/mem.h"
#include "tests/support/harness_private.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* --- chance ------------------------------------------------------------------------------ */
struct dice {
    uint64_t state;
};
struct dice dice_of(uint64_t seed, uint64_t stream);
int dice_upto(struct dice *d, int n);                /* 0 .. n-1 */
int dice_between(struct dice *d, int low, int high); /* both included */
void dice_shuffle(struct dice *d, int *list, int n);

int64_t wall_us(void);

/* --- the stack --------------------------------------------------------------------------- */
enum { HOSTS = 2, UNITS = 2 * HOSTS, WORKERS = 2, LEASE_MS = 2000, CLIENTS = 4, CRAWLERS = 2 };

/* A supervised program, started again when it is found dead, as a service manager would. */
struct unit {
    const char *program;
    bool producer;
    int port;       /* of a producer */
    int admin_port; /* 0: a producer that shows its metrics on its port */
    struct test_proc *proc;
    int64_t restart_at; /* 0 = not waiting */
    int64_t term_until; /* asked to leave; killed when it has not by then */
};

struct stack {
    struct dice dice;
    struct test_pg *pg;
    struct test_redis *redis;
    struct test_proc *firecrawl;
    const char *db, *dir, *release, *scrapes; /* scrapes: the stand-in's log */
    int firecrawl_port;
    struct unit units[UNITS]; /* producers, then worker fleets */
    bool pg_up, redis_up, small_spool;
    bool held;                      /* no unit is started */
    bool crawls_last;               /* Redis forgets everything but crawls, which nobody else has */
    bool arm;                       /* programs that start get crash points */
    int worker_deck, producer_deck; /* places in the lists of crash points */
    const char *worker;             /* path of hookline-worker */
    const char *const *more;        /* settings of this run, before all others */
    struct notice *notice;          /* for the viewers; NULL = there are none */
};

void stack_start(struct stack *s, uint64_t seed, const char *const *more);
void stack_start_unit(struct stack *s, struct unit *u); /* waits until it works */
void stack_tend(struct stack *s); /* to be called often: starts what is dead */
void stack_calm(struct stack *s); /* all units again, without crash points; waits until they work */
struct unit *stack_producer(struct stack *s, int host);
struct unit *stack_fleet(struct stack *s, int host);
/* Living children of a supervisor in that role ("worker", "janitor", "producer"). */
int unit_children(struct unit *u, const char *role, pid_t *pids, int max);
void unit_kill(struct unit *u); /* supervisor and all its processes; comes again later */
bool stack_healthy(struct stack *s, struct unit *u);
long stack_unfinished(struct stack *s); /* events */
bool stack_quiet(struct stack *s);      /* no event unfinished, no job in Redis, nothing spooled */
/* Dead letters about crawls, but for those of a second body under an id. */
long stack_crawl_letters(struct stack *s);
int stack_ctl(struct stack *s, const char *const *args, const char **out);
struct test_proc *stack_ctl_start(struct stack *s, const char *const *args);
void stack_hold(struct stack *s, bool held); /* all units are killed, none starts; or start again */
void stack_new_redis(struct stack *s);       /* an empty one in place of the other, which is gone */
void stack_copy_spool(struct stack *s, const char *to); /* as it lies there now */

/* Who gives orders that stand, or puts many events back, does it alone: what one is promised, the other
 * would break. */
enum turn_of { TURN_NOBODY, TURN_OPERATOR, TURN_VIEWER };
bool stack_take_turn(struct stack *s, enum turn_of who);
void stack_end_turn(struct stack *s);

/* --- load -------------------------------------------------------------------------------- */
#define CHAOS_API_SECRET "a-secret-of-those-who-look-after-it-all"
#define CHAOS_TOKEN      "a-token-for-senders-that-cannot-sign-webhooks"
struct answer {
    int status; /* 0 = none */
    char event[40];
};
/* One event about http://page.test<path>; key names it (watch id and Idempotency-Key). */
struct answer load_post(int port, const char *key, const char *path, const char *snapshot);
/* Forked clients, until load_stop; each writes a file that load_read finds. */
struct load {
    pid_t pids[CLIENTS + CRAWLERS]; /* those that post crawls come last */
    const char *files[CLIENTS + CRAWLERS];
};
void load_start(struct load *l, struct stack *s, uint64_t seed);
void load_stop(struct load *l);
/* Does intake know an event again by its sender's key? */
bool load_knows_keys(int port);

/* --- checks ------------------------------------------------------------------------------ */
enum tally { JUST_A_VIOLATION, IS_LOST, IS_DOUBLED };
/* Each query has one text column, a row for each thing that must not be. */
struct check {
    const char *name;
    const char *sql;
    enum tally tally;
    bool needs_keys;
};

/* --- crawls ------------------------------------------------------------------------------ */
struct crawl_poster {
    struct dice dice;
    int number, fd; /* fd: its file */
    const int *ports;
    bool (*stopped)(void);
};
void crawls_post_one(struct crawl_poster *c, int number); /* a whole crawl */
int crawls_post(int port, const char *body);              /* one event: the status; 0 = none */
void crawls_load(struct stack *s, const char *const *files, int n);
extern const char crawls_install_sql[];
extern const struct check crawl_checks[]; /* ends with name NULL */

/* --- faults ------------------------------------------------------------------------------ */
struct fault_count {
    const char *name;
    int done;
};
struct faults;
struct faults *faults_new(struct stack *s, uint64_t seed);
void faults_step(struct faults *f, int64_t now_ms); /* starts what is due, heals what is over */
void faults_heal(struct faults *f);                 /* all of them, now */
int faults_count(struct faults *f, struct fault_count *out, int max);
void faults_free(struct faults *f);

/* --- operators --------------------------------------------------------------------------- */
struct operators;
struct verdict;
struct operators *operators_new(struct stack *s, uint64_t seed);
void operators_step(struct operators *o, int64_t now_ms);
/* Every command ends, every order is taken back; needs healed stores. */
void operators_end(struct operators *o, struct verdict *v);
void operators_load(struct operators *o); /* what was promised when, for the checks */
void operators_print(void);
void operators_free(struct operators *o);
extern const char operators_install_sql[];
extern const struct check operator_checks[]; /* ends with name NULL */

/* --- viewers ----------------------------------------------------------------------------- */
struct viewers;
struct viewers *viewers_new(struct stack *s, uint64_t seed);
void viewers_step(struct viewers *all); /* tells them which supervisors run */
/* Each takes back what it has ordered, and leaves; needs healed stores. Frees them. */
void viewers_end(struct viewers *all, struct verdict *v);
extern const struct check viewer_checks[]; /* ends with name NULL */

/* --- history ----------------------------------------------------------------------------- */
void history_install(struct stack *s);
/* For the recovery times: a worker process was killed; how: "process" or "host". Or made to crash:
 * "crash"; no other crash is expected. */
void history_death(pid_t pid, const char *how);
/* Redis has just lost all it had, crawls that nobody else knows of too. */
void history_flush(void);
/* No clean measurement is possible around this moment (a store is away). */
void history_outage(void);

/* Rows in the text form of COPY, for a table of schema chaos. */
void history_copy(struct stack *s, const char *table, const struct buf *rows);

struct recovery {
    long jobs;
    double median_ms, worst_ms;           /* until they ran again */
    double median_free_ms, worst_free_ms; /* until they were nobody's */
};
struct verdict {
    long posted, accepted, duplicates, conflicts, refused, unanswered, rows;
    long crawl_posts, crawl_accepted, crawls, crawl_events, crawl_pages;
    long crawl_waited; /* ms from an answer to the row, at most */
    long put_back;     /* failed events, by producers */
    long lost, doubled;
    int violations; /* kinds of them */
    struct recovery process, host;
    struct buf text; /* one line for each kind: name, count, examples */
};
/* Reads the clients' files (NULL: there were none) and the stand-in's log, and checks everything. */
void history_check(struct stack *s, const struct load *l, bool keys, struct verdict *v);

/* --- schedules --------------------------------------------------------------------------- */
struct schedule {
    const char *name, *shows;
    void (*run)(struct stack *s, struct verdict *v);
};
extern const struct schedule schedules[]; /* ends with name NULL */
/* A finding of the driver itself. */
void verdict_add(struct verdict *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
