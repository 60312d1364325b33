/* relay: a relay between a program and PostgreSQL that breaks the connection at a moment of the
 * test's choice, so that an outcome is unknown. */
#ifndef HL_TESTS_RELAY_H
#define HL_TESTS_RELAY_H

#include <stdbool.h>

/* What becomes of the link at the next bytes; once, then it passes everything again. */
enum mishap { NOTHING, LOSE_REQUEST, LOSE_ANSWER };

/* The way to this database past the relay; one in a test. */
const char *relay_start(const char *url);
void relay_break_next(enum mishap how);
bool relay_broke(void); /* what was asked for has happened */

#endif
