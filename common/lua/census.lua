-- census: everything that both queues hold, counted in one moment. Only reads.
-- KEYS[1..3] stream, later (zset) and later:jobs (hash) of one queue, KEYS[4..6] of the other, KEYS[7] dead,
-- KEYS[8] generation
-- ARGV[1] group, ARGV[2] how many ids to name of each place
-- Returns {ms since 1970, dead letters, generation ('' = none), run id of this server, 1 when it copies another,
-- queue, queue}; a queue is {entries, ever
-- added (-1 = this Redis does not tell), last id ever given ('' = none), group there (1), pending, first entry
-- ('' = none), later, of them due, jobs of later, next due (ms, '' = none), ids not delivered, ids pending,
-- ids later, ids of jobs that later does not name, how many those are}.
local group, most = ARGV[1], tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function fields(flat)
    local t = {}
    for i = 1, #flat, 2 do
        t[flat[i]] = flat[i + 1]
    end
    return t
end

local function the_group(stream)
    for _, g in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
        local t = fields(g)
        if t['name'] == group then
            return t
        end
    end
end

-- What INFO says of this server.
local function told(section, member)
    return string.match(redis.call('INFO', section), member .. ':(%w+)') or ''
end

-- What names an entry: the event's id, or, where it has none, its own.
local function name_of(entry)
    return fields(entry[2])['id'] or entry[1]
end

local function names(stream, from)
    local found = {}
    for _, e in ipairs(redis.call('XRANGE', stream, from, '+', 'COUNT', most)) do
        found[#found + 1] = name_of(e)
    end
    return found
end

local function pending_names(stream)
    local found = {}
    for _, p in ipairs(redis.call('XPENDING', stream, group, '-', '+', most)) do
        local e = redis.call('XRANGE', stream, p[1], p[1])
        found[#found + 1] = e[1] and name_of(e[1]) or p[1]
    end
    return found
end

-- Without a group nothing was delivered.
local function look_at_stream(stream)
    if redis.call('EXISTS', stream) == 0 then
        return {0, 0, '', 0, 0, '', {}, {}}
    end
    local info, g = fields(redis.call('XINFO', 'STREAM', stream)), the_group(stream)
    local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)
    local from = g and g['last-delivered-id'] ~= '0-0' and '(' .. g['last-delivered-id'] or '-'
    return {info['length'], info['entries-added'] or -1, info['last-generated-id'], g and 1 or 0,
        g and g['pending'] or 0, first[1] and first[1][1] or '', names(stream, from),
        g and pending_names(stream) or {}}
end

local function orphans(later, jobs)
    local found, n, have = {}, 0, redis.call('HLEN', jobs)
    if have == 0 then
        return found, 0
    end
    if have > 10000 then
        return found, math.max(0, have - redis.call('ZCARD', later))
    end
    for _, id in ipairs(redis.call('HKEYS', jobs)) do
        if not redis.call('ZSCORE', later, id) then
            n = n + 1
            found[n] = n <= most and id or nil
        end
    end
    return found, n
end

local function look_at(stream, later, jobs)
    local s = look_at_stream(stream)
    local next = redis.call('ZRANGE', later, 0, 0, 'WITHSCORES')
    local ids, n = orphans(later, jobs)
    return {s[1], s[2], s[3], s[4], s[5], s[6], redis.call('ZCARD', later),
        redis.call('ZCOUNT', later, '-inf', now), redis.call('HLEN', jobs), next[2] or '', s[7], s[8],
        redis.call('ZRANGE', later, 0, most - 1), ids, n}
end

return {now, redis.call('XLEN', KEYS[7]), redis.call('GET', KEYS[8]) or '',
    told('server', 'run_id'), told('replication', 'role') == 'master' and 0 or 1,
    look_at(KEYS[1], KEYS[2], KEYS[3]), look_at(KEYS[4], KEYS[5], KEYS[6])}
