/* api_page: what the routes that answer lists share: words to choose from, the place where a page
 * begins, the end of a page. */
#ifndef HL_PRODUCER_API_PAGE_H
#define HL_PRODUCER_API_PAGE_H

#include "producer/api.h"

struct view_key; /* store_view.h */

/* The parameter is not given, or one of these words (NULL at the end). False: the call has ended,
 * with 422. */
bool api_page_word(struct api_call *call, int param, const char *const *words);

/* NULL: it is not given. Borrowed from the call. */
const int64_t *api_page_time(const struct api_value *v);

/* Where a page begins: "<number>" or "<number>-<uuid>", opaque to clients. False: the call has ended,
 * with 422. Not given: *place stays 0, *id NULL. id NULL: a number alone; *id is borrowed from the
 * call. */
bool api_page_after(struct api_call *call, int param, int64_t *place, const char **id);

/* An event id or a row id, as clients name events; false: neither. key borrows text. */
bool api_page_event(const char *text, struct view_key *key);

/* Something is wrong with the parameter, pydantic's way of saying it: ends the call, with 422. */
void api_page_fault(struct api_call *call, int param, const char *msg);
/* The parameter names no such place: ends the call, with 422. */
void api_page_refuse(struct api_call *call, int param);

/* "key":[ {...},{...} ]: before each element. */
void api_page_item(struct api_call *call);
/* Closes the array and the answer: ],"next":"<place>" (or null)}, and replies. id: NULL = none. */
void api_page_end(struct api_call *call, bool more, const char *place, const char *id);

/* A page of rows, as the store answers them: one row more than the limit where there are more, and in each
 * row how far was looked ("edge", null: to the end), which is all that a row without an id tells. */
struct api_page {
    const char *key;     /* of the array */
    int limit;           /* its parameter */
    int id;              /* columns: null = no row */
    int place, place_id; /* of a row, as `next`; place_id -1 = none */
    int edge, edge_id;
    void (*put)(struct api_call *call, const PGresult *rows, int row); /* its members */
};
/* {"key":[...],"next":...}: ends the call. */
void api_page_rows(struct api_call *call, const struct api_page *page, const PGresult *rows);

#endif
