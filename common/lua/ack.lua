-- ack: jobs that are done for good leave the stream.
-- KEYS[1] stream, KEYS[2..] marker of each job
-- ARGV[1] group, ARGV[2..] stream entry of each job ('' = not in the stream)
-- A marker that names another place by now belongs to a requeued job and stays.
local entries = {}
for i = 2, #ARGV do
    if ARGV[i] ~= '' then
        entries[#entries + 1] = ARGV[i]
        if redis.call('GET', KEYS[i]) == KEYS[1] .. ' ' .. ARGV[i] then
            redis.call('DEL', KEYS[i])
        end
    end
end
if #entries == 0 then
    return 0
end
redis.call('XACK', KEYS[1], ARGV[1], unpack(entries))
return redis.call('XDEL', KEYS[1], unpack(entries))
