-- What the hosts know of a job. KEYS[1]: its hash; ARGV: what (note, open, close), the mark as JSON, the time (Unix milliseconds),
-- how long the hash lives. Gives 0 where another runner's run may still go on; nothing is changed then.
local now = tonumber(ARGV[3])
local new = cjson.decode(ARGV[2])
local is_there, old = pcall(cjson.decode, redis.call('HGET', KEYS[1], 'job') or '')
if not is_there or type(old) ~= 'table' then old = {} end
local open = type(old.open) == 'table' and old.open or nil
local slot = new.slot_ms
-- Never back, but behind a clock that was ahead.
if type(old.slot_ms) == 'number' and old.slot_ms > slot and old.slot_ms <= now + 86400000 then slot = old.slot_ms end
if ARGV[1] == 'open' then
	if open and open.runner ~= new.open.runner and open.until_ms > now then return 0 end
	open = new.open
elseif ARGV[1] == 'close' and open and open.run == new.open.run then
	open = nil
end
redis.call('HSET', KEYS[1], 'job', cjson.encode({ slot_ms = slot, open = open or cjson.null }))
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
