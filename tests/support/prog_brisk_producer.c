/* brisk_producer: hookline-producer, whose live streams do in a fifth of a second what takes one, and in
 * half of one what takes fifteen. */
#define main producer_main
int producer_main(int argc, char **argv);
#include "producer/main.c" /* NOLINT(bugprone-suspicious-include): the whole program, but for main */
#undef main

#include "producer/live.h"

int main(int argc, char **argv)
{
    live_pace = (struct live_pace){.question_ms = 200, .comment_ms = 500};
    return producer_main(argc, argv);
}
