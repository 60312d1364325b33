-- requeue: moves jobs back to the queue (retry, hand-back, zombie), now or later.
-- KEYS[1] stream, KEYS[2] later (zset), KEYS[3] later:jobs (hash), KEYS[4..] marker of each job
-- ARGV[1] group, then per job: event id, stream entry in hand ('' = none), delay in ms (0 = now), payload
-- Drops the entry in hand and the delivered entry that the marker names (the same one, as a rule), adds the
-- new one, rewrites the marker. An entry that nobody has been given yet stays: the job is in the queue
-- already. Returns how many were moved.
-- Without an entry in hand the payload was made from a row, which does not know all that came with the event
-- (its traceparent): then the job of the entry that is dropped goes on instead, if it is of the same body.
local group = ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local moved = 0

-- False when it is not (or no longer) delivered to anyone.
local function drop(entry)
    if redis.call('XACK', KEYS[1], group, entry) == 0 then
        return false
    end
    redis.call('XDEL', KEYS[1], entry)
    return true
end

local function job_of(fields)
    for i = 1, #fields, 2 do
        if fields[i] == 'job' then
            return fields[i + 1]
        end
    end
end

-- In msgpack: the key "h", and bin 8 of 32 bytes. No text in a job has these four bytes: they are not UTF-8.
local function digest_of(job)
    local _, at = string.find(job, '\161h\196\32', 1, true)
    return at and string.sub(job, at + 1, at + 32)
end

-- Whether the marked entry still waits for its first delivery; if not, the job of the one that was dropped.
local function waits(marker)
    local stream, entry = string.match(marker, '^(%S+) (%S+)$')
    if stream ~= KEYS[1] then
        return false
    end
    local there = redis.call('XRANGE', stream, entry, entry)[1]
    if drop(entry) then
        return false, there and job_of(there[2])
    end
    return there ~= nil
end

for i = 4, #KEYS do
    local at = (i - 4) * 4
    local id, hand, delay, payload = ARGV[at + 2], ARGV[at + 3], tonumber(ARGV[at + 4]), ARGV[at + 5]
    local marker = redis.call('GET', KEYS[i])
    if hand ~= '' then
        drop(hand)
    end
    local queued, job
    if marker then
        queued, job = waits(marker)
    end
    if not queued then
        if hand == '' and job and digest_of(job) == digest_of(payload) then
            payload = job
        end
        redis.call('ZREM', KEYS[2], id)
        redis.call('HDEL', KEYS[3], id)
        if delay > 0 then
            redis.call('ZADD', KEYS[2], now + delay, id)
            redis.call('HSET', KEYS[3], id, payload)
            redis.call('SET', KEYS[i], 'later')
        else
            local entry = redis.call('XADD', KEYS[1], '*', 'id', id, 'job', payload)
            redis.call('SET', KEYS[i], KEYS[1] .. ' ' .. entry)
        end
        moved = moved + 1
    end
end
return moved
