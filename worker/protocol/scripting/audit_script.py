"""The Lua that adds an entry to the audit chain, within the script that makes the change.

An entry is one line of JSON: a number without gaps, the time, the author, the event, ids (never a text of an edit), the
hash of the previous entry, and its own hash over everything before it in the line. The hash is SHA-1 because Redis
scripts offer no other. ``worker.protocol.audit.chain`` reads the lines.
"""

from __future__ import annotations

AUDIT = """
local INDEXED = {
  batch = true, batches = true, version = true, versions = true, previous = true,
  edit = true, edits = true, remove = true, guard = true, guards = true, export = true, note = true
}

local function audit(what, who, fields)
  local number = redis.call('LLEN', AUDIT) + 1
  local last = redis.call('LINDEX', AUDIT, -1)
  local parts = {
    '{"number":' .. number, '"at":' .. cjson.encode(NOW), '"what":' .. cjson.encode(what),
    '"who":' .. (who == '' and 'null' or cjson.encode(who))
  }
  for _, field in ipairs(fields) do
    local name, value = field[1], field[2]
    local ids = type(value) == 'table' and value or {value}
    if value and #ids > 0 then
      parts[#parts + 1] = cjson.encode(name) .. ':' .. cjson.encode(value)
      if INDEXED[name] then
        for _, id in ipairs(ids) do redis.call('ZADD', AUDIT_OF .. id, number, number) end
      end
    end
  end
  parts[#parts + 1] = '"before":"' .. (last and string.sub(last, -42, -3) or string.rep('0', 40)) .. '"'
  local text = table.concat(parts, ',')
  redis.call('RPUSH', AUDIT, text .. ',"hash":"' .. redis.sha1hex(text) .. '"}')
end
"""
