-- bury: jobs that will never be done become dead letters, with their bytes and the reason.
-- KEYS[1] stream, KEYS[2] dead, KEYS[3..] marker of each job
-- ARGV[1] group, ARGV[2] how many dead letters are kept, then per job: stream entry ('' = not in the stream),
-- event id, reason, payload
for i = 3, #KEYS do
    local at = (i - 3) * 4 + 3
    local entry, id, reason, payload = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', 'id', id, 'reason', reason, 'job', payload)
    if entry ~= '' then
        redis.call('XACK', KEYS[1], ARGV[1], entry)
        redis.call('XDEL', KEYS[1], entry)
    end
    local marker = redis.call('GET', KEYS[i])
    if entry == '' or marker == KEYS[1] .. ' ' .. entry then
        redis.call('DEL', KEYS[i])
    end
end
return #KEYS - 2
