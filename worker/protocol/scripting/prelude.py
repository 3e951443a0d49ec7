"""The Lua that precedes every script of the ledger.

A script checks its preconditions and makes one complete change, or none. It receives one JSON object: the prefix of the
store, the time, the author, and its own arguments. A script may run twice if an answer is lost, and its checks make a
second run harmless. Each script adds its change to the audit chain (``audit``).
"""

from __future__ import annotations

from worker.protocol.entities import COMMIT_STATES, FINAL_STATES
from worker.protocol.keys import COMMIT_UNIT, Key
from worker.protocol.scripting.audit_script import AUDIT

_KEYS = "\n".join(f"local {key.name} = P .. '{key.value}'" for key in Key)
_FINAL = ", ".join(f"{state.value} = true" for state in sorted(FINAL_STATES))
_COMMITTING = ", ".join(f"{state.value} = true" for state in sorted(COMMIT_STATES))

PRELUDE = f"""
local CALL = cjson.decode(ARGV[1])
local P, NOW, WHO, ARG = CALL.prefix, CALL.now, CALL.who, CALL.arguments
{_KEYS}
local FINAL = {{{_FINAL}}}
local IN_COMMIT = {{{_COMMITTING}}}
local COMMIT_UNIT = '{COMMIT_UNIT}'

{AUDIT}
local function held(unit, token)
  local value = redis.call('GET', LEASE .. unit)
  return value and string.match(value, '^(%d+) ') == token
end

local function forget_attempts(unit)
  redis.call('HDEL', ATTEMPTS, unit)
  redis.call('HDEL', ATTEMPT_ERRORS, unit)
end

local function begin_attempt(unit)
  redis.call('HSET', ATTEMPT_ERRORS, unit, 'the worker stopped without reporting an error')
  return redis.call('HINCRBY', ATTEMPTS, unit, 1)
end

local function used_up(unit, max_attempts)
  local attempts = tonumber(redis.call('HGET', ATTEMPTS, unit) or '0')
  if attempts < max_attempts then return nil end
  return 'started ' .. attempts .. ' times and never finished; the last error: '
    .. (redis.call('HGET', ATTEMPT_ERRORS, unit) or 'unknown')
end

local function status_of(batch)
  return redis.call('HGET', BATCH .. batch, 'status')
end

local function touch(batch)
  redis.call('HSET', BATCH .. batch, 'updated', NOW)
  redis.call('HINCRBY', BATCH .. batch, 'progress_number', 1)
end

local function set_status(batch, status)
  redis.call('HSET', BATCH .. batch, 'status', status)
  touch(batch)
  if status == 'ready' then
    redis.call('ZADD', READY, redis.call('HGET', BATCH .. batch, 'acceptance'), batch)
    redis.call('SREM', COMMITTING, batch)
    return
  end
  redis.call('ZREM', READY, batch)
  if IN_COMMIT[status] then
    redis.call('SADD', COMMITTING, batch)
    return
  end
  redis.call('SREM', COMMITTING, batch)
  if FINAL[status] or status == 'candidate' then
    local who = status == 'cancelled' and redis.call('HGET', BATCH .. batch, 'cancelled_by') or WHO
    local known = redis.call('HMGET', BATCH .. batch, 'version', 'spec')
    audit('batch.' .. status, who, {{
      {{'batch', batch}}, {{'version', known[1]}}, {{'remove', cjson.decode(known[2]).remove}}
    }})
    redis.call('SREM', OPEN, batch)
    redis.call('DEL', SHARDS .. batch, SHARD_PROGRESS .. batch)
    redis.call('HDEL', BATCH .. batch, 'token')
    forget_attempts(COMMIT_UNIT .. '-' .. batch)
  end
end

local function live_version()
  local pointer = redis.call('HMGET', POINTER, 'revision', 'version')
  return tonumber(pointer[1] or '0'), pointer[2] or 'v0'
end

local function point_at(version, author)
  local revision, previous = live_version()
  redis.call('HSET', POINTER, 'revision', revision + 1, 'version', version)
  redis.call('RPUSH', PROMOTIONS, cjson.encode({{
    revision = revision + 1, version = version, previous = previous, author = author, at = NOW
  }}))
  local is_older = tonumber(string.sub(version, 2)) < tonumber(string.sub(previous, 2))
  local what = author == 'commit' and 'version.published' or (is_older and 'version.rollback' or 'version.promoted')
  audit(what, author, {{{{'version', version}}, {{'previous', previous}}, {{'revision', revision + 1}}}})
  return revision + 1
end
"""

# Precedes scripts that can bring a batch to a final state.
COUNT_EDITS = """
local function count_edits(batch, outcome)
  local dropped = tonumber(redis.call('HGET', BATCH .. batch, 'dropped') or '0')
  redis.call('HINCRBY', EDIT_OUTCOMES, outcome, redis.call('ZCARD', BATCH_EDITS .. batch) - dropped)
  if dropped > 0 then redis.call('HINCRBY', EDIT_OUTCOMES, 'dropped', dropped) end
end
"""
