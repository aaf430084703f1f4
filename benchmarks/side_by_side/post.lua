-- Books another free slot with each request: first through the resources, then the day's starts, then the days.
-- Arguments: tokens as for report.lua, first service, resources to a service, first resource (0: none is sent), resources in all,
-- starts in a day, minutes between them, and the first start in seconds since 1970.
require("report")

local sent = 0
local given = {}

function init(args)
  for at = 2, #args do
    given[at] = tonumber(args[at])
  end
  signed_in(args[1])
  wrk.headers["Content-Type"] = "application/json"
end

function request()
  local service, each, resource, all, starts, step, first = unpack(given, 2, 8)
  local place = sent % all
  local turn = math.floor(sent / all)
  local start = first + math.floor(turn / starts) * 86400 + turn % starts * step * 60
  sent = sent + 1
  wrk.headers["Authorization"] = somebody()
  local named = resource > 0 and string.format('"resource_id":%d,', resource + place) or ""
  return wrk.format("POST", nil, nil, string.format('{"service_id":%d,%s"start_time":"%s"}',
    service + math.floor(place / each), named, os.date("!%Y-%m-%dT%H:%M:%SZ", start)))
end
