/* adopt: databases of the service that Hookline replaces, taken over in place. Recognises what is
 * there, refuses what does not fit, and knows the steps that make the rest do for sql/001; the
 * migrator runs them instead of that file. No row is lost, no table rebuilt, and alembic_version is
 * only read, so that the replaced service can still work on the database. */
#ifndef HL_DOMAIN_ADOPT_H
#define HL_DOMAIN_ADOPT_H

#include "base/err.h"

#include <libpq-fe.h>
#include <stdbool.h>

struct adopt_step {
    const char *name;    /* for people */
    const char *needed;  /* SQL boolean over the catalog: still to be done */
    const char *locks;   /* on tables of webhook: "MODE on table, table; MODE on table" */
    const char *writers; /* what writers notice of it */
    const char *sql;     /* may be run again at any time */
};
#define ADOPT_STEPS 5
extern const struct adopt_step adopt_steps[ADOPT_STEPS];

struct adoption {
    bool needed;            /* this is a database of the replaced service */
    bool todo[ADOPT_STEPS]; /* by index of adopt_steps */
    char found[160];        /* what was recognised, for people; "" unless needed */
};

/* Reads the catalog, changes nothing. For a database in which sql/001 is not recorded as applied.
 * HL_FATAL: not to be adopted, and what to do about it; a->found is filled all the same. */
enum hl_rc adopt_inspect(PGconn *pg, struct adoption *a, struct hl_err *err);

#endif
