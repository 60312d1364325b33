/* samplepage: a web server with one page, the page that changes in `make run` and `make demo`.
 * Prints its address, serves until SIGTERM or SIGINT. The page tells the time, so that every visit
 * finds it changed. */
#include "base/buf.h"
#include "base/err.h"
#include "io/httpd.h"
#include "io/loop.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static const char page[] =
    "<!doctype html>\n"
    "<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
    "<title>The harbour notice board</title>\n"
    "<meta name=\"description\" content=\"Tides, boats and the catch of the day.\">\n"
    "<style>body{font:1.1em/1.5 Georgia,serif;max-width:36em;margin:3em auto;color:#234}</style>\n"
    "</head><body>\n"
    "<h1>The harbour notice board</h1>\n"
    "<p>Chalked up at %s.</p>\n"
    "<h2>Boats</h2>\n"
    "<ul><li>The <em>Marigold</em> is back with mackerel and two crates of squid.</li>\n"
    "<li>The <em>Patience</em> waits for a new anchor chain.</li></ul>\n"
    "<h2>Weather</h2>\n"
    "<p>A light breeze from the south west, a calm sea, and good visibility all day.</p>\n"
    "</body></html>\n";

static void serve_page(struct httpd_req *req, void *ctx)
{
    (void)ctx;
    char now[64];
    struct tm tm;
    time_t t = time(NULL);
    strftime(now, sizeof(now), "%H:%M:%S on %A", localtime_r(&t, &tm));
    struct buf body = {0};
    buf_printf(&body, page, now);
    httpd_reply(req, 200, "text/html; charset=utf-8", body.data, body.len);
    buf_release(&body);
}

static void stop(void *ctx)
{
    loop_stop(ctx);
}

int main(void)
{
    static const struct httpd_route routes[] = {
        {"GET",       "/", serve_page, 0, 0},
        {0}
    };
    const struct httpd_conf conf = {.routes = routes,
        .max_header = 16384,
        .max_body = 1024,
        .max_connections = 64,
        .header_timeout_ms = 10000,
        .body_timeout_ms = 10000,
        .idle_timeout_ms = 10000,
        .write_timeout_ms = 10000};
    struct hl_err err = {0};
    struct sigwatch term = {0}, interrupt = {0};
    int port;
    int fd = httpd_listen("127.0.0.1", 0, 64, &port, &err);
    struct loop *l = fd < 0 ? NULL : loop_new(&err);
    if (!l) {
        fprintf(stderr, "samplepage: %s\n", err.msg);
        return EXIT_FAILURE;
    }
    struct httpd *h = httpd_new(l, fd, &conf);
    sigwatch_start(l, &term, SIGTERM, stop, l);
    sigwatch_start(l, &interrupt, SIGINT, stop, l);
    printf("http://127.0.0.1:%d/\n", port);
    fflush(stdout);
    loop_run(l);
    sigwatch_stop(&term);
    sigwatch_stop(&interrupt);
    httpd_free(h);
    loop_free(l);
    close(fd);
    return EXIT_SUCCESS;
}
