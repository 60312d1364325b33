/* mutant: guarantees that a test build switches off, one at a time, to show that the chaos run
 * notices (make chaos-mutants). Each is a piece of SQL or a flag; empty and 0 in any other build. */
#ifndef HL_BASE_MUTANT_H
#define HL_BASE_MUTANT_H

/* T3 counts whoever owns the row, and in whatever epoch. */
#if defined(HOOKLINE_CHAOS) && defined(HOOKLINE_BREAK_CLAIM_GUARD)
#define MUTANT_ANY_OWNER " OR true"
#else
#define MUTANT_ANY_OWNER ""
#endif

/* An older fetch replaces a newer document. */
#if defined(HOOKLINE_CHAOS) && defined(HOOKLINE_BREAK_SCRAPE_SEQ)
#define MUTANT_ANY_FETCH " OR true"
#else
#define MUTANT_ANY_FETCH ""
#endif

/* A claim that came through after it was given up stays ours. */
#if defined(HOOKLINE_CHAOS) && defined(HOOKLINE_BREAK_STRAYS)
#define MUTANT_NO_STRAYS " AND false"
#else
#define MUTANT_NO_STRAYS ""
#endif

/* Redis is told before PostgreSQL. */
#if defined(HOOKLINE_CHAOS) && defined(HOOKLINE_BREAK_ACK_BEFORE_T3)
#define MUTANT_ACK_FIRST 1
#else
#define MUTANT_ACK_FIRST 0
#endif

/* The same of a crawl's event. */
#if defined(HOOKLINE_CHAOS) && defined(HOOKLINE_BREAK_CRAWL_ACK)
#define MUTANT_CRAWL_ACK_FIRST 1
#else
#define MUTANT_CRAWL_ACK_FIRST 0
#endif

/* Who writes about one crawl does not wait for the other. */
#if defined(HOOKLINE_CHAOS) && defined(HOOKLINE_BREAK_CRAWL_TURNS)
#define MUTANT_CRAWL_LOCK "hashint8"
#else
#define MUTANT_CRAWL_LOCK "pg_advisory_xact_lock"
#endif

#endif
