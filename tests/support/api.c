/* api: see api.h. */
#include "tests/support/api.h"

#include <criterion/criterion.h>
#include <string.h>
#include <unistd.h>

#define AUTH "Authorization: Bearer " RIG_API_SECRET "\r\n"

json_t *api_ask_json(
    struct rig *r, const char *method, const char *path, const char *body, int status)
{
    const char *headers = body ? AUTH "Content-Type: application/json\r\n" : AUTH;
    struct test_reply reply =
        test_http(r->producer_port, method, path, headers, body, body ? strlen(body) : 0);
    cr_assert_eq(reply.status, status, "%s %s: %d %s", method, path, reply.status, reply.body);
    json_t *v = json_loads(reply.body, 0, NULL);
    cr_assert_not_null(v, "%s", reply.body);
    return v;
}

const char *api_text(const json_t *at, const char *key)
{
    const char *s = json_string_value(json_object_get(at, key));
    return s ? s : "";
}

json_int_t api_number(const json_t *at, const char *key)
{
    const json_t *n = json_object_get(at, key);
    return json_is_integer(n) ? json_integer_value(n) : -1;
}

const char *api_answer_text(struct rig *r, const char *method, const char *path, const char *body,
    int status, const char *key)
{
    json_t *v = api_ask_json(r, method, path, body, status);
    const char *text = harness_text("%s", api_text(v, key));
    json_decref(v);
    return text;
}

void rig_fail_events(struct rig *r, int first, int n, const char *error)
{
    sql_exec(r->db,
        "INSERT INTO webhook.change_events (event_id, watch_id, watch_url, url_key, detected_at,"
        "  rescrape_status, metadata, body_digest, accept_seq, claim_epoch, attempts, finished_at)"
        " SELECT gen_random_uuid(), 'w' || i, '" RIG_SITE "/p' || i,"
        "  sha256(convert_to('" RIG_SITE "/p' || i, 'UTF8')), now(), left('failed: %s', 50),"
        "  jsonb_build_object('error', '%s'), sha256(int8send(i)), i, 3, 5, now()"
        " FROM generate_series(%d, %d) i",
        error, error, first, first + n - 1);
}

void rig_producer_again(struct rig *r)
{
    const char *argv[] = {rig_program("hookline-producer"), NULL};
    int fd = harness_listen(&r->producer_port);
    r->producer = rig_start_program(r, argv, NULL, fd);
    close(fd);
    WAIT_FOR(rig_serves(r->producer_port), 20000);
}
