/* lua_scripts: the files of common/lua/, embedded at build time by common/embed.sh. */
#ifndef HL_DOMAIN_LUA_SCRIPTS_H
#define HL_DOMAIN_LUA_SCRIPTS_H

#include "io/redis.h"

extern struct redis_script lua_publish, lua_requeue, lua_ack, lua_bury, lua_promote, lua_takeover,
    lua_attend, lua_limit, lua_reject;
extern struct redis_script lua_crawl_publish, lua_crawl_requeue, lua_crawl_ack, lua_crawl_bury,
    lua_crawl_promote, lua_crawl_takeover;
extern struct redis_script lua_census, lua_hasten;
extern struct redis_script lua_trace;
extern struct redis_script lua_dead_revive, lua_dead_drop, lua_crawl_revive;
extern struct redis_script lua_transfer_keys, lua_transfer_later, lua_transfer_entries,
    lua_transfer_put;

#endif
