-- crawl_bury: crawl jobs that will never be done become dead letters, as they are.
-- KEYS[1] stream, KEYS[2] dead
-- ARGV[1] group, ARGV[2] how many dead letters are kept, ARGV[3] prefix of the markers, ARGV[4] of the keys of
-- large jobs (same hash tag), then per job: stream entry ('' = not in the stream), event id, reason, payload ('' =
-- what the entry has)
-- What is in the stream is buried with its own id and bytes. A large job stays where it is, renamed, without a
-- TTL: its letter has the key. A marker that names another place stays. Returns how many letters were written.
local buried = 0

local function letter(id, reason, ...)
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', 'id', id, 'reason', reason, 'queue', 'crawl', ...)
    buried = buried + 1
end

local function bury_beside(entry, id, reason, len)
    local key = ARGV[4] .. id
    local dead = key .. ':dead'
    if redis.call('EXISTS', key) == 1 then
        if redis.call('EXISTS', dead) == 1 then -- of an earlier letter, which keeps it
            dead = dead .. ':' .. entry
        end
        redis.call('RENAME', key, dead)
    end
    letter(id, reason, 'blob', dead, 'len', len)
end

local function bury_entry(entry, reason, found)
    local fields = {}
    for k = 1, #found, 2 do
        fields[found[k]] = found[k + 1]
    end
    local id = fields['id']
    local marker = id and redis.call('GET', ARGV[3] .. id)
    local place = string.match(marker or '', '^(.*) %S+$')
    if place and place ~= KEYS[1] .. ' ' .. entry then
        return
    end
    if id and fields['len'] and not fields['job'] then
        bury_beside(entry, id, reason, fields['len'])
    else
        letter(id or '-', reason, 'job', fields['job'] or '')
    end
    if place then
        redis.call('DEL', ARGV[3] .. id)
    end
end

for at = 5, #ARGV, 4 do
    local entry, id, reason, payload = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    local found = entry ~= '' and redis.call('XRANGE', KEYS[1], entry, entry) or {}
    if #found == 1 then
        bury_entry(entry, reason, found[1][2])
    elseif entry == '' and payload ~= '' then
        letter(id, reason, 'job', payload)
    end
    if entry ~= '' then
        redis.call('XACK', KEYS[1], ARGV[1], entry)
        redis.call('XDEL', KEYS[1], entry)
    end
end
return buried
