/* dossier: see dossier.h. */
#include "worker/dossier.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/pgarray.h"

#include <unistd.h>

/* The jobs as JSON for people, and those that are suspect as an array. */
static void put_held(const struct obituaries *all, const struct obituary *one, struct buf *held,
    struct buf *suspects)
{
    char id[UUID_STRLEN + 1];
    buf_puts(held, "[");
    pgarray_begin(suspects);
    for (size_t i = 0; i < one->nheld; i++) {
        struct held h = obituaries_held(all, one, i);
        uuid_format(&h.id, id);
        buf_puts(held, i ? ",{" : "{");
        json_put_key(held, "event_id");
        json_put_string(held, id);
        json_put_key(held, "step");
        json_put_string(held, held_step(&h));
        buf_puts(held, "}");
        if (one->crash && held_in_work(&h))
            pgarray_text(suspects, id);
    }
    buf_puts(held, "]");
}

void dossier_write(struct store *s, const struct obituaries *all, const struct obituary *one,
    store_cb *cb, void *ctx)
{
    char host[64] = "host";
    struct buf held = {0}, suspects = {0};

    gethostname(host, sizeof(host) - 1);
    put_held(all, one, &held, &suspects);
    store_crash(s,
        &(struct store_crash){.worker = one->instance,
            .host = host,
            .role = one->role,
            .cause = one->cause,
            .pid = one->pid,
            .signo = one->signo,
            .exit_code = one->code,
            .blamed = one->crash,
            .max_rss_kb = one->max_rss_kb,
            .lived_ms = one->lived_ms,
            .held = buf_str(&held),
            .suspects = pgarray_end(&suspects)},
        cb, ctx);
    buf_release(&held);
    buf_release(&suspects);
}
