/* api_openapi: GET /openapi.json: what this server offers, for programs. */
#include "producer/api_views.h"
#include "producer/openapi.h"

void api_openapi(struct httpd_req *req, void *stores)
{
    (void)stores;
    httpd_reply(req, 200, "application/json", openapi_json, openapi_json_len);
}
