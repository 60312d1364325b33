/* timestamp: the time formats of the contract. All values are microseconds since 1970 UTC. */
#ifndef HL_BASE_TIMESTAMP_H
#define HL_BASE_TIMESTAMP_H

#include <stdbool.h>
#include <stdint.h>

/* detected_at, reference contract section 2.1: surrounding white space trimmed, a final upper-case
 * Z is UTC, otherwise the grammar of Python 3.13's datetime.fromisoformat (extended and basic
 * form, T or any one character between date and time as that parser has it, date only, ISO week
 * dates, fraction after . or ',', offsets); no offset means UTC. Python's leniences are kept as
 * they are. False when it does not fit, is longer than 127 bytes, or the instant is outside years
 * 1 to 9999 UTC; *out is then untouched. */
bool timestamp_parse_iso(const char *s, int64_t *out);

/* "YYYY-MM-DD hh:mm:ss UTC", changedetection.io's change_datetime; blanks around are trimmed. */
bool timestamp_parse_cdio(const char *s, int64_t *out);

/* Reference contract section 1.6, "hh:mm:ss AM|PM | MM/DD/YYYY" in America/New_York, computed from
 * the rule EST5EDT,M3.2.0,M11.1.0 for every year (in force since 2007). */
#define TIMESTAMP_EASTERN_LEN 24
void timestamp_eastern(int64_t us, char out[TIMESTAMP_EASTERN_LEN + 1]);

/* ISO with Z, microseconds shown only if non-zero. Both clamp to years 1 to 9999. */
#define TIMESTAMP_ISO_LEN 27
void timestamp_iso(int64_t us, char out[TIMESTAMP_ISO_LEN + 1]);

#endif
