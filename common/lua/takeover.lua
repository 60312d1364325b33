-- takeover: entries delivered to a consumer that is gone go back to the stream; once it has none left,
-- the consumer is deleted in the same step.
-- KEYS[1] stream; ARGV[1] group, ARGV[2] consumer, ARGV[3] at most so many, ARGV[4] prefix of the markers
-- A job that is elsewhere by now only loses its old entry. Entries without an id are none of ours and have
-- no marker: they go back as they are, for whoever reads them to quarantine. Returns {moved, still pending}.
local stream, group, consumer = KEYS[1], ARGV[1], ARGV[2]
local moved = 0

local function value(fields, name)
    for k = 1, #fields, 2 do
        if fields[k] == name then
            return fields[k + 1]
        end
    end
end

if redis.call('EXISTS', stream) == 0 then
    return {0, 0}
end
local pending = redis.call('XPENDING', stream, group, '-', '+', ARGV[3], consumer)
for _, p in ipairs(pending) do
    local entry = p[1]
    local found = redis.call('XRANGE', stream, entry, entry)
    if #found == 1 then
        local fields = found[1][2]
        local id = value(fields, 'id')
        local marker = id and redis.call('GET', ARGV[4] .. id)
        if not marker or marker == stream .. ' ' .. entry then
            local again = redis.call('XADD', stream, '*', unpack(fields))
            if id then
                redis.call('SET', ARGV[4] .. id, stream .. ' ' .. again)
            end
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
