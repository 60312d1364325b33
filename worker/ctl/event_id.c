/* event_id: see event_id.h. */
#include "worker/ctl/event_id.h"

#include "base/uuid.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_DIGITS = 18 }; /* of what a bigint holds */

int event_id_read(const struct ctl_command *command, const char *text, struct view_key *key)
{
    struct uuid parsed;
    size_t digits = strspn(text, "0123456789");
    *key = (struct view_key){0};
    if (uuid_parse(text, &parsed))
        key->event_id = text;
    else if (*text && !text[digits] && digits <= MAX_DIGITS)
        key->row_id = strtoll(text, NULL, 10);
    if (key->event_id || key->row_id)
        return -1;
    return ctl_usage_error(
        command, "'%s' is no id of an event: expected a UUID, or the number of its row", text);
}
