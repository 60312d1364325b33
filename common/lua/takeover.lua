-- takeover: entries delivered to a consumer that is gone go back to the stream; once it has none left,
-- the consumer is deleted in the same step.
-- KEYS[1] stream; ARGV[1] group, ARGV[2] consumer, ARGV[3] at most so many, ARGV[4] prefix of the markers
-- Returns {moved, still pending}.
local stream, group, consumer = KEYS[1], ARGV[1], ARGV[2]
local moved = 0
if redis.call('EXISTS', stream) == 0 then
    return {0, 0}
end
local pending = redis.call('XPENDING', stream, group, '-', '+', ARGV[3], consumer)
for _, p in ipairs(pending) do
    local entry = p[1]
    local found = redis.call('XRANGE', stream, entry, entry)
    if #found == 1 then
        local fields = {}
        for k = 1, #found[1][2], 2 do
            fields[found[1][2][k]] = found[1][2][k + 1]
        end
        local key = ARGV[4] .. (fields.id or '-')
        local marker = redis.call('GET', key)
        if not marker or marker == stream .. ' ' .. entry then
            local again = redis.call('XADD', stream, '*', 'id', fields.id or '-', 'job', fields.job or '')
            redis.call('SET', key, stream .. ' ' .. again)
            moved = moved + 1
        end
    end
    redis.call('XACK', stream, group, entry)
    redis.call('XDEL', stream, entry)
end
local left = #redis.call('XPENDING', stream, group, '-', '+', 1, consumer)
if left == 0 then
    redis.call('XGROUP', 'DELCONSUMER', stream, group, consumer)
end
return {moved, left}
