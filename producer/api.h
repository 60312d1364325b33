/* api: what every route of the API goes through: the rate limit (reference contract section
 * 1.3), authentication (1.2), the query against a table of parameters (422 in the contract's shape),
 * then the route's own work: asynchronous, on connections apart from intake's, with a deadline; 503
 * when that passes or the budget is used up. CORS (1.4) is api_before's. */
#ifndef HL_PRODUCER_API_H
#define HL_PRODUCER_API_H

#include "base/buf.h"
#include "io/httpd.h"
#include "producer/stores.h"

#define API_MAX_PARAMS  12
#define API_MAX_PLACES  4
#define API_MAX_MEMBERS 8
#define API_MAX_BODY    16384 /* bytes */

enum api_type { API_INT, API_FLOAT, API_BOOL, API_TEXT, API_TIME };

struct api_param { /* a table of these ends with name NULL */
    const char *name;
    enum api_type type;
    int64_t min, max, def; /* of API_INT; def of API_BOOL. max 0 = no upper bound */
    bool required;
};
struct api_member {   /* of a request's body, a JSON object; a table of these ends with name NULL */
    const char *name; /* "reason"; "filter.url" stands in the object "filter" */
    enum api_type type;       /* API_TEXT, API_INT, API_TIME */
    int64_t min, max;         /* of API_INT; max of API_TEXT: characters, 0 = 4096 */
    int64_t def;              /* of API_INT */
    bool required;            /* its key has to be there */
    const char *const *words; /* API_TEXT: one of these, or null; ends with NULL. NULL = any text */
};
struct api_call;
struct api_value {
    bool given; /* an empty text counts as not given */
    int64_t n;  /* int, bool; time: microseconds since 1970 UTC */
    double f;
    char *text; /* owned by the call; NULL unless given */
};

/* Who gets an answer that goes to no client: borrowed, JSON. */
typedef void api_sink(int status, const char *body, size_t len, void *ctx);

struct api_act { /* private to api_act */
    int64_t id;  /* of a row that is not ended; 0 = none */
    void (*then)(struct api_call *call);
    int status; /* of the answer */
};

struct api_call {
    struct httpd_req *req; /* NULL: api_ask */
    char *path;            /* of api_ask */
    api_sink *sink;
    void *sink_ctx;
    struct stores *stores;
    const struct api_entry *entry;
    const char *query;                         /* borrowed until `go` returns */
    char *places[API_MAX_PLACES];              /* what api_place has found for api_ask */
    struct api_value values[API_MAX_PARAMS];   /* in the order of the route's params */
    struct api_value members[API_MAX_MEMBERS]; /* of the body, in the order of the route's */
    struct api_act act;                        /* of a route that writes (api_act.h) */
    struct buf out;                            /* the answer under construction */
    void *own;   /* the route's, freed with free() at the end; NULL ok */
    int pending; /* the route's: answers it waits for */
};

struct api_route { /* api_routes has them all, with method and path */
    bool limited;  /* one of the contract's routes: counts against the rate limit */
    bool open;     /* needs no secret */
    bool streams;  /* its answer has no end, so api_ask has none for it */
    const struct api_param *params;    /* NULL = none */
    const struct api_member *members;  /* of the body; NULL: it has none */
    void (*go)(struct api_call *call); /* answers now or later, once, by one of those below */
};
struct api_entry {
    const char *method, *path;
    const struct api_route *route;
};
/* Every route that goes through here; ends with method NULL. */
extern const struct api_entry api_routes[];
/* Handler of httpd for all of them. */
void api_serve(struct httpd_req *req, void *stores);
/* Puts the question of a GET route ("/api/events?status=failed") for somebody who was admitted to ask
 * it, past limits and credentials. sink gets the answer, once, later or from inside the call. False: no
 * GET route has this path. */
bool api_ask(struct stores *s, const char *target, api_sink *sink, void *ctx);

/* True: there is a GET route for this target; api_ask takes it. */
bool api_can_ask(const char *target);

/* The credentials of a request that may read; again, for one that goes on. */
bool api_may_read(const struct stores *s, const struct httpd_req *req);
/* Ends the call without an answer: that is the caller's now. Not of api_ask. */
struct httpd_req *api_take(struct api_call *call);

/* The segment of the path that the route calls {name}, decoded; borrowed until the call ends. */
const char *api_place(struct api_call *call, const char *name);
/* A header of the answer. */
void api_header(struct api_call *call, const char *name, const char *value);
const char *api_request_id(struct api_call *call); /* "" = none */

/* Each ends the call. */
void api_reply(struct api_call *call, int status); /* call->out, as JSON */
void api_fail(struct api_call *call, enum hl_rc rc, const struct hl_err *err); /* 503, or 500 */
void api_detail(struct api_call *call, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The body of such an answer, {"detail":"..."}, for a reply that comes later. */
void api_put_detail(struct api_call *call, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* --- members of JSON answers; a column of a result row, NULL gives null --------------------- */
void api_put_text(struct api_call *call, const char *key, const PGresult *r, int row, int col);
void api_put_int(struct api_call *call, const char *key, const PGresult *r, int row, int col);
void api_put_2dp(struct api_call *call, const char *key, const PGresult *r, int row, int col);
void api_put_double(struct api_call *call, const char *key, const PGresult *r, int row, int col);
void api_put_bool(struct api_call *call, const char *key, const PGresult *r, int row, int col);
void api_put_json(struct api_call *call, const char *key, const PGresult *r, int row, int col);
/* The column is microseconds since 1970 UTC; Eastern, or ISO with Z (contract section 1.6). */
void api_put_eastern(struct api_call *call, const char *key, const PGresult *r, int row, int col);
void api_put_iso(struct api_call *call, const char *key, const PGresult *r, int row, int col);

/* httpd_conf.before: CORS headers, and the answer to a preflight. */
bool api_before(struct httpd_req *req, void *stores);

#endif
