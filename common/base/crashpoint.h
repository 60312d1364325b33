/* crashpoint: named places at which a process of a test build dies at once, as if by kill -9. In any
 * other build CRASH_POINT is nothing: no code, no name, no variable (tests/integration/test_chaos.c
 * looks into the programs).
 *
 * With -DHOOKLINE_CHAOS the environment decides:
 *     HOOKLINE_CRASH="t3.after=0.01,t0.before@3"   one passage in a hundred; the third passage
 *     HOOKLINE_CRASH_SEED=N                        of the dice; each process throws its own
 *     HOOKLINE_CRASH_LOG=FILE                      a line "name pid" for each death
 * An unknown name or a bad number ends the program with a message. */
#ifndef HL_BASE_CRASHPOINT_H
#define HL_BASE_CRASHPOINT_H

/* Every name; each stands in the code at least once. */
/* clang-format off */
#define CRASH_POINTS(X)                                                                            \
    X("t0.before")      /* the row is about to be sent */                                          \
    X("t0.after")       /* the row has committed; nobody else knows */                             \
    X("enqueue.before") /* about to publish */                                                     \
    X("enqueue.after")  /* Redis has answered */                                                   \
    X("reply.before")   /* safe; the sender has not heard */                                       \
    X("claim.before")   /* T1 is about to be sent */                                               \
    X("claim.after")    /* T1 has answered */                                                      \
    X("scrape.before")  /* the row is ours, nothing fetched */                                     \
    X("scrape.after")   /* fetched, nothing written */                                             \
    X("t3.before")      /* the result is about to be sent */                                       \
    X("t3.after")       /* the result has been answered; Redis does not know */                    \
    X("ack.before")     /* Redis is about to be told */                                            \
    X("ack.after")      /* all done */                                                             \
    X("spool.append")   /* the record waits for the disk */                                        \
    X("spool.sync")     /* written, not synced */                                                  \
    X("spool.synced")   /* synced, not answered */                                                 \
    X("forward.after")  /* spooled events have their rows; the spool still holds them */           \
    X("janitor.dead")   /* a death was told to PostgreSQL; the note of it is still there */        \
    X("janitor.move")   /* rows were freed or found; Redis does not know */                        \
    X("janitor.taken")  /* entries of the dead were taken over */                                  \
    X("crawl.read")     /* in the helper thread: a crawl job was read */                           \
    X("crawl.before_store") /* what it leaves is about to be sent */                               \
    X("crawl.after_store")  /* the same has committed; Redis does not know */                      \
    X("crawl.after_ack")    /* Redis has answered */
/* clang-format on */

#ifdef HOOKLINE_CHAOS
#define CRASH_POINT(name) crashpoint_pass(name)
void crashpoint_pass(const char *name); /* from any thread */
#else
#define CRASH_POINT(name) ((void)0)
#endif

#endif
