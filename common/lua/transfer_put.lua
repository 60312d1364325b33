-- transfer_put: records of an exported queue are put in their places, each record once: how far the file has come
-- is noted in the same step.
-- KEYS[1] note of this file, KEYS[2..4] stream, later (zset) and later:jobs (hash) of change events, KEYS[5..7] of
-- crawl jobs, KEYS[8] dead, KEYS[9] rejects, KEYS[10] rejects:open, KEYS[11] generation
-- ARGV[1] records that are done already, ARGV[2] records done with these, ARGV[3] for how long to keep the note
-- (ms), ARGV[4] prefix of the markers, ARGV[5] of the keys of large jobs, ARGV[6] of what was seen, ARGV[7] how many
-- dead letters are kept, ARGV[8] digest of a job that had none, then for each record: what it is, four texts, how
-- many values, the values
-- What is there already stays as it is. Returns {1: done, 0: the note says otherwise; records that are done; jobs
-- put so far; there already; finished elsewhere; 1 when the whole file has been done}.
local note = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local queues = {
    change = {stream = KEYS[2], later = KEYS[3], jobs = KEYS[4]},
    crawl = {stream = KEYS[5], later = KEYS[6], jobs = KEYS[7], digests = true},
}
local counts = {put = 0, known = 0, finished = 0}

local function state(done)
    local f = redis.call('HMGET', note, 'records', 'put', 'known', 'finished', 'end')
    return {done, tonumber(f[1] or '0'), tonumber(f[2] or '0'), tonumber(f[3] or '0'), tonumber(f[4] or '0'),
        f[5] and 1 or 0}
end

-- The job is there, or was.
local function holds(q, id)
    local marker = redis.call('GET', ARGV[4] .. id)
    if not marker then
        return false
    end
    local word, rest = string.match(marker, '^(%S+) ?(%S*)')
    if word == 'later' then
        return redis.call('ZSCORE', q.later, id) ~= false
    end
    return word == 'done' or word == q.stream and #redis.call('XRANGE', q.stream, rest, rest) == 1
end

local function remember(key, value, forgotten)
    local left = tonumber(forgotten) - now
    if forgotten == '0' then
        redis.call('SET', key, value, 'NX')
    elseif left > 0 then
        redis.call('SET', key, value, 'PX', string.format('%.0f', left), 'NX')
    end
end

local function mark(q, id, digest, place)
    if q.digests then
        place = place .. ' ' .. (digest ~= '' and digest or ARGV[8])
    end
    redis.call('SET', ARGV[4] .. id, place)
end

local function once(q, id, put)
    if id ~= '' and holds(q, id) then
        counts.known = counts.known + 1
    else
        counts.put = counts.put + 1
        put()
    end
end

-- Under its own id where that is younger than what is there. False: this very entry is there already.
local function add(stream, entry, fields, ...)
    local found = redis.call('XRANGE', stream, entry, entry)
    if #found == 1 and cmsgpack.pack(found[1][2]) == cmsgpack.pack(fields) then
        return false
    end
    local args = {stream, ...}
    local at = #args + 1
    for i = 1, #fields do
        args[at + i] = fields[i]
    end
    args[at] = entry
    local added = redis.pcall('XADD', unpack(args))
    if type(added) == 'table' and added.err then
        args[at] = '*'
        added = redis.call('XADD', unpack(args))
    end
    return added
end

local kinds = {}

function kinds.job(t, values)
    local q, id = queues[t[1]], t[3]
    once(q, id, function()
        if id ~= '' then
            mark(q, id, t[4], 'put') -- who may not do this must not have added the entry
        end
        local entry = redis.call('XADD', q.stream, '*', unpack(values))
        if id ~= '' then
            mark(q, id, t[4], q.stream .. ' ' .. entry)
        end
    end)
end

function kinds.later(t, values)
    local q, id = queues[t[1]], t[2]
    once(q, id, function()
        redis.call('ZADD', q.later, t[4], id)
        redis.call('HSET', q.jobs, id, values[1])
        mark(q, id, t[3], 'later')
    end)
end

-- In pieces, first to last. One that is there already is as long as it is going to be.
function kinds.blob(t, values)
    local key, id = ARGV[5] .. t[1], string.match(t[1], '^[^:]+')
    if id == t[1] and holds(queues.crawl, id) then
        return
    end
    if id == t[1] and t[2] == '0' then
        redis.call('DEL', key) -- of a job that is gone
    end
    if redis.call('STRLEN', key) == tonumber(t[2]) then
        redis.call('APPEND', key, values[1])
    end
end

function kinds.done(t)
    remember(ARGV[4] .. t[1], 'done ' .. t[2], t[3])
end

-- A job whose rows were written meanwhile.
function kinds.finished(t)
    counts.finished = counts.finished + 1
    if t[1] == 'crawl' and not holds(queues.crawl, t[2]) then
        redis.call('DEL', ARGV[5] .. t[2], ARGV[4] .. t[2])
        remember(ARGV[4] .. t[2], 'done ' .. (t[3] ~= '' and t[3] or ARGV[8]), t[4])
    end
end

function kinds.seen(t, values)
    remember(ARGV[6] .. t[1], values[1], t[2])
end

function kinds.dead(t, values)
    add(KEYS[8], t[1], values, 'MAXLEN', '~', ARGV[7])
end

function kinds.reject(t, values)
    local open = true
    for k = 1, #values, 2 do
        open = open and not (values[k] == 'authenticated' and values[k + 1] == '1')
    end
    local entry = add(KEYS[9], t[1], values)
    if open and entry then
        redis.call('RPUSH', KEYS[10], entry)
    end
end

-- Redis holds what the rows say that it should. Not while somebody fills it from the rows.
kinds['end'] = function(t)
    redis.call('HSET', note, 'end', string.format('%.0f', now))
    if t[1] ~= '' and not string.find(redis.call('GET', KEYS[11]) or '', '^rebuilding ') then
        redis.call('SET', KEYS[11], t[1])
    end
end

if (redis.call('HGET', note, 'records') or '0') ~= ARGV[1] then
    return state(0)
end
local at = 9
while at <= #ARGV do
    local n = tonumber(ARGV[at + 5])
    local values = {}
    for i = 1, n do
        values[i] = ARGV[at + 5 + i]
    end
    kinds[ARGV[at]]({ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]}, values)
    at = at + 6 + n
end
redis.call('HSET', note, 'records', ARGV[2])
for name, n in pairs(counts) do
    redis.call('HINCRBY', note, name, n)
end
redis.call('PEXPIRE', note, ARGV[3])
return state(1)
