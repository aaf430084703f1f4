WITH need AS MATERIALIZED (
  SELECT DISTINCT ON (k.position) k.position, k.role,
         coalesce(CASE WHEN k.position = 1 THEN CAST(:seats AS integer) END,
                  CAST(count(*) OVER (PARTITION BY k.position, k.part) AS integer)) AS seats,
         make_interval(mins => k.free_from_minutes) AS free_from,
         make_interval(mins => k.free_until_minutes) AS free_until
    FROM claims k WHERE k.booking_id = CAST(:booking_id AS bigint)
   ORDER BY k.position, k.part
), rule AS MATERIALIZED (
  SELECT s.id AS service_id, s.price, s.slot_step_minutes IS NOT NULL AND NOT :for_desk AS has_step, length.*,
         coalesce(b.start_time - b.blocks_from, make_interval(mins => s.setup_minutes)) AS setup,
         coalesce(b.blocks_until - b.end_time, make_interval(mins => s.cleanup_minutes)) AS cleanup,
         make_interval(mins => coalesce(s.slot_step_minutes, s.duration_minutes)) AS step,
         :now + make_interval(mins => CASE WHEN :for_desk THEN 0 ELSE s.min_notice_minutes END) AS earliest,
         CASE WHEN NOT :for_desk THEN s.horizon_days END AS horizon_days,
         s.binds_hours_at_ends AS binds_at_ends, s.max_party, s.price_is_per_person, taken.*
    FROM services s LEFT JOIN bookings b ON b.id = CAST(:booking_id AS bigint)
    LEFT JOIN resources r ON r.id = b.resource_id
   CROSS JOIN LATERAL (
     SELECT coalesce(CAST(:duration AS interval), b.end_time - b.start_time,
                     make_interval(mins => s.duration_minutes)) AS duration,
            CASE WHEN CAST(:duration AS interval) IS NULL THEN coalesce(
              (b.end_time AT TIME ZONE r.timezone) - (b.start_time AT TIME ZONE r.timezone),
              make_interval(mins => s.duration_minutes)) END AS by_clock
   ) AS kept
   CROSS JOIN LATERAL (
     SELECT CASE WHEN mod(extract(epoch FROM kept.by_clock), 86400) = 0 THEN CAST(extract(epoch FROM kept.by_clock) / 86400 AS integer) ELSE 0 END AS days
   ) AS whole
   CROSS JOIN LATERAL (
     SELECT kept.duration, whole.days,
            CASE WHEN whole.days > 0 THEN greatest(interval '12 hours', make_interval(hours => 24 * whole.days - 26))
                 ELSE kept.duration END AS shortest,
            CASE WHEN whole.days > 0 THEN make_interval(hours => 24 * whole.days + 26)
                 ELSE kept.duration END AS longest
   ) AS length
   CROSS JOIN (
     SELECT count(*) AS roles, bool_and(position = 1 AND seats = 1 AND free_from IS NULL) AS is_plain FROM need
   ) AS taken
   WHERE s.id = CAST(:service_id AS bigint) AND (s.is_active OR b.id IS NOT NULL)
     AND taken.roles > cardinality(CAST(:other_ids AS bigint[]))
), candidate AS MATERIALIZED (
  SELECT need.position, need.role, need.seats AS needed, need.free_from, need.free_until,
         r.id, r.name, r.capacity, r.timezone
    FROM (
      SELECT 1 AS position, sr.resource_id
        FROM service_resources sr
       WHERE sr.service_id = CAST(:service_id AS bigint)
         AND (CAST(:resource_id AS bigint) IS NULL OR sr.resource_id = CAST(:resource_id AS bigint))
      UNION ALL ((
        SELECT n.position, nr.resource_id
          FROM service_needs n JOIN need_resources nr ON nr.need_id = n.id
         WHERE n.service_id = CAST(:service_id AS bigint)
           AND nr.resource_id = coalesce((CAST(:other_ids AS bigint[]))[n.position - 1], nr.resource_id))
        UNION
        SELECT k.position, k.resource_id
          FROM claims k
         WHERE k.booking_id = CAST(:booking_id AS bigint) AND k.position > 1
           AND k.resource_id = coalesce((CAST(:other_ids AS bigint[]))[k.position - 1], k.resource_id))
    ) AS able
    JOIN need USING (position) JOIN resources r ON r.id = able.resource_id
   WHERE r.is_active AND need.seats BETWEEN 1 AND 100
), exception AS MATERIALIZED (
  SELECT x.resource_id, zone.timezone, x.is_open, local.start_time,
         greatest(local.start_time, local.end_time) AS end_time
    FROM rule CROSS JOIN (SELECT DISTINCT c.timezone FROM candidate c) AS zone
    JOIN calendar_exceptions x
      ON tstzrange(x.start_time, x.end_time) && tstzrange(
           :since - interval '26 hours', :until + rule.longest + interval '26 hours', '[]')
   CROSS JOIN LATERAL (
     SELECT coalesce(x.start_time AT TIME ZONE x.timezone AT TIME ZONE zone.timezone, x.start_time) AS start_time,
            coalesce(x.end_time AT TIME ZONE x.timezone AT TIME ZONE zone.timezone, x.end_time) AS end_time
   ) AS local
), exception_times AS MATERIALIZED (
  SELECT x.resource_id, x.timezone,
         range_agg(tstzrange(x.start_time, x.end_time)) FILTER (WHERE x.is_open) AS opened,
         range_agg(tstzrange(x.start_time, x.end_time)) FILTER (WHERE NOT x.is_open) AS closed
    FROM exception x GROUP BY x.resource_id, x.timezone
), weekly_hours AS MATERIALIZED (
  SELECT c.id, c.timezone, coalesce(h.weekday, 0) AS weekday, coalesce(h.opens, '00:00') AS opens,
         coalesce(h.closes, '00:00') AS closes, h.valid_from, h.valid_until
    FROM candidate c LEFT JOIN opening_hours h ON h.resource_id = c.id
), dated_hours AS MATERIALIZED (
  SELECT w.*, day, (day + w.opens) AT TIME ZONE w.timezone AS since,
         (day + w.closes + CASE WHEN w.closes > w.opens THEN interval '0' ELSE interval '1 day' END)
           AT TIME ZONE w.timezone AS until
    FROM rule CROSS JOIN (SELECT DISTINCT timezone, weekday, opens, closes FROM weekly_hours) AS w
   CROSS JOIN LATERAL generate_series(
     CASE WHEN w.weekday = 0 THEN date_trunc('day', (:since AT TIME ZONE w.timezone) - interval '2 days')
          ELSE date_trunc('week', (:since AT TIME ZONE w.timezone) - interval '2 days')
               + make_interval(days => w.weekday - 1) END,
     (:until + rule.longest) AT TIME ZONE w.timezone,
     CASE WHEN w.weekday = 0 THEN interval '1 day' ELSE interval '7 days' END) AS day
   WHERE ((day + interval '12 hours') AT TIME ZONE w.timezone) AT TIME ZONE w.timezone = day + interval '12 hours'
), span AS MATERIALIZED (
  SELECT w.id, d.since, d.until
    FROM weekly_hours w JOIN dated_hours d USING (timezone, weekday, opens, closes)
   WHERE d.since < d.until AND d.until > :since
     AND d.day >= coalesce(w.valid_from, '-infinity') AND d.day <= coalesce(w.valid_until, 'infinity')
  UNION ALL
  SELECT c.id, x.start_time, x.end_time
    FROM candidate c JOIN exception x
      ON x.is_open AND x.timezone = c.timezone AND (x.resource_id = c.id OR x.resource_id IS NULL)
), plan AS MATERIALIZED (
  SELECT c.*, coalesce(spans.hours, '{}') AS hours, coalesce(spans.hours, '{}') - closed.times AS open,
         closed.times AS closed
    FROM candidate c
    LEFT JOIN (
      SELECT s.id, range_agg(tstzrange(s.since, s.until)) AS hours FROM span s GROUP BY s.id
    ) AS spans USING (id)
    LEFT JOIN exception_times AS own ON own.resource_id = c.id AND own.timezone = c.timezone
    LEFT JOIN exception_times AS shared ON shared.resource_id IS NULL AND shared.timezone = c.timezone
   CROSS JOIN LATERAL (
     SELECT coalesce(shared.closed, '{}') - coalesce(own.opened, '{}') + coalesce(own.closed, '{}') AS times
   ) AS closed
), possible_end AS MATERIALIZED (
  SELECT ends.end_time, array_agg(first.timezone) AS timezones
    FROM rule CROSS JOIN candidate first
   CROSS JOIN LATERAL (SELECT CASE WHEN rule.days > 0 THEN (:since AT TIME ZONE first.timezone + make_interval(days => rule.days)) AT TIME ZONE first.timezone ELSE :since + rule.duration END AS end_time) AS ends
   WHERE first.position = 1
   GROUP BY ends.end_time
), checks AS MATERIALIZED (
  SELECT p.position, p.role, p.id, p.name, p.timezone, p.capacity, :since AS start_time, visit.end_time,
         :since - rule.setup AS blocks_from, visit.end_time + rule.cleanup AS blocks_until, p.free_from, p.free_until,
         p.needed, rule.roles, rule.earliest, rule.horizon_days, rule.step,
         p.position > 1 OR CASE WHEN :since > :now THEN :since >= rule.earliest ELSE :allows_past END AS has_notice,
         p.position > 1 OR coalesce(:since <= (:now AT TIME ZONE p.timezone + make_interval(days => rule.horizon_days)) AT TIME ZONE p.timezone, true) AS is_within_horizon,
         CASE WHEN rule.binds_at_ends THEN coalesce(p.hours @> lower(tstzmultirange(tstzrange(:since, least(:since + p.free_from, visit.end_time)), tstzrange(least(:since + p.free_until, visit.end_time), visit.end_time))) AND (p.hours @> upper(tstzmultirange(tstzrange(:since, least(:since + p.free_from, visit.end_time)), tstzrange(least(:since + p.free_until, visit.end_time), visit.end_time))) OR p.hours @> upper(tstzmultirange(tstzrange(:since, least(:since + p.free_from, visit.end_time)), tstzrange(least(:since + p.free_until, visit.end_time), visit.end_time))) - interval '1 microsecond'), true) ELSE p.hours @> tstzmultirange(tstzrange(:since, least(:since + p.free_from, visit.end_time)), tstzrange(least(:since + p.free_until, visit.end_time), visit.end_time)) END AS is_in_hours,
         CASE WHEN rule.binds_at_ends THEN coalesce(NOT p.closed @> lower(tstzmultirange(tstzrange(:since, least(:since + p.free_from, visit.end_time)), tstzrange(least(:since + p.free_until, visit.end_time), visit.end_time))) AND (NOT (p.hours @> upper(tstzmultirange(tstzrange(:since, least(:since + p.free_from, visit.end_time)), tstzrange(least(:since + p.free_until, visit.end_time), visit.end_time))) OR p.hours @> upper(tstzmultirange(tstzrange(:since, least(:since + p.free_from, visit.end_time)), tstzrange(least(:since + p.free_until, visit.end_time), visit.end_time))) - interval '1 microsecond') OR (p.open @> upper(tstzmultirange(tstzrange(:since, least(:since + p.free_from, visit.end_time)), tstzrange(least(:since + p.free_until, visit.end_time), visit.end_time))) OR p.open @> upper(tstzmultirange(tstzrange(:since, least(:since + p.free_from, visit.end_time)), tstzrange(least(:since + p.free_until, visit.end_time), visit.end_time))) - interval '1 microsecond')), true) ELSE NOT p.closed && tstzmultirange(tstzrange(:since, least(:since + p.free_from, visit.end_time)), tstzrange(least(:since + p.free_until, visit.end_time), visit.end_time)) END AS is_not_closed,
         p.position > 1 OR NOT rule.has_step OR EXISTS (
           SELECT FROM span s
            WHERE s.id = p.id AND s.since <= :since AND :since < s.until
              AND mod(extract(epoch FROM :since - s.since), extract(epoch FROM rule.step)) = 0) AS is_on_step
    FROM rule CROSS JOIN plan p
    JOIN possible_end AS visit ON p.position > 1 OR p.timezone = ANY (visit.timezones)
), busy_level AS MATERIALIZED (
  SELECT c.position, c.id, level, range_agg(tstzrange(load.since, load.until)) AS times
    FROM rule CROSS JOIN candidate c
   CROSS JOIN LATERAL (
     SELECT change.at AS since, lead(change.at) OVER (ORDER BY change.at, change.step) AS until,
            CAST(sum(change.step) OVER (ORDER BY change.at, change.step) AS integer) AS seats
       FROM claims k JOIN bookings b ON b.id = k.booking_id
      CROSS JOIN LATERAL (VALUES (k.since, 1), (k.until, -1)) AS change (at, step)
      WHERE k.resource_id = c.id AND k.is_blocking AND NOT is_expired(b.expires_at, :now)
        AND tstzrange(k.since, k.until) && tstzrange(
              :since - rule.setup, :until + rule.longest + rule.cleanup, '[]')
        AND b.id IS DISTINCT FROM CAST(:booking_id AS bigint)
   ) AS load
   CROSS JOIN LATERAL generate_series(1, least(load.seats, c.capacity)) AS level
   WHERE load.since < load.until
   GROUP BY c.position, c.id, level
)
SELECT c.*, free.seats AS free_seats, free.seats >= c.needed OR isempty(taken.times) AS has_room
  FROM checks c
 CROSS JOIN LATERAL (
   SELECT tstzmultirange(CASE WHEN c.free_from = interval '0' THEN 'empty' ELSE tstzrange(c.blocks_from, least(c.start_time + c.free_from, c.blocks_until)) END, tstzrange(least(c.start_time + c.free_until, c.blocks_until), c.blocks_until)) AS times
 ) AS taken
 CROSS JOIN LATERAL (
   SELECT c.capacity - count(*) AS seats
     FROM busy_level b WHERE b.position = c.position AND b.id = c.id AND b.times && taken.times
 ) AS free
 ORDER BY c.position, c.id, c.end_time
