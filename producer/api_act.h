/* api_act: what is done through the API is written down in webhook.operator_log: what is to be done before
 * it is done, and how it ended afterwards, as hooklinectl does. What cannot be written down is not done. */
#ifndef HL_PRODUCER_API_ACT_H
#define HL_PRODUCER_API_ACT_H

#include "producer/api.h"
#include "producer/client.h"

/* Who acts: "dashboard@ADDRESS" of the client, "api@ADDRESS" where it shows a secret. */
#define API_OPERATOR_LEN (CLIENT_LEN + 16)
void api_operator(const struct api_call *call, char out[]);

/* then runs when the row is there; where it cannot be written, the call ends (503). command: as the tool
 * names it; reason NULL = none; detail: a JSON object. All are borrowed during the call. */
void api_act_begin(struct api_call *call, const char *command, const char *reason,
    const char *detail, void (*then)(struct api_call *call));
/* Ends the row; then runs, whether that worked or not. affected: how many things were changed; outcome:
 * 'done', or what went wrong. */
void api_act_end(struct api_call *call, int64_t affected, const char *outcome,
    void (*then)(struct api_call *call));
/* What was begun failed, or nobody knows whether it did: ends the row behind the answer. Nothing was begun:
 * does nothing. api_fail does so. */
void api_act_break(struct api_call *call, enum hl_rc rc);
/* The row's end is somebody else's from here on. Its id. */
int64_t api_act_hand_over(struct api_call *call);
/* Ends the row, and the call with what stands in call->out. */
void api_act_reply(struct api_call *call, int status, int64_t affected, const char *outcome);

#endif
