WITH rule AS MATERIALIZED (
  SELECT s.id AS service_id, s.price, s.slot_step_minutes IS NOT NULL AS has_step, length.*,
         coalesce(b.start_time - b.blocks_from, make_interval(mins => s.setup_minutes)) AS setup,
         coalesce(b.blocks_until - b.end_time, make_interval(mins => s.cleanup_minutes)) AS cleanup,
         make_interval(mins => coalesce(s.slot_step_minutes, s.duration_minutes)) AS step,
         :now + make_interval(mins => s.min_notice_minutes) AS earliest, s.horizon_days,
         s.binds_hours_at_ends AS binds_at_ends
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
   WHERE s.id = CAST(:service_id AS bigint) AND (s.is_active OR b.id IS NOT NULL)
), candidate AS MATERIALIZED (
  SELECT r.id, r.name, r.capacity, r.timezone,
         EXISTS (SELECT FROM opening_hours h WHERE h.resource_id = r.id) AS has_hours
    FROM service_resources sr JOIN resources r ON r.id = sr.resource_id
   WHERE sr.service_id = CAST(:service_id AS bigint) AND r.is_active
     AND (CAST(:resource_id AS bigint) IS NULL OR r.id = CAST(:resource_id AS bigint))
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
  SELECT c.id, c.timezone, h.weekday, h.opens, h.closes, h.valid_from, h.valid_until
    FROM candidate c JOIN opening_hours h ON h.resource_id = c.id
  UNION ALL
  SELECT c.id, c.timezone, weekday, time '00:00', time '00:00', NULL, NULL
    FROM candidate c CROSS JOIN generate_series(1, 7) AS weekday WHERE NOT c.has_hours
), dated_hours AS MATERIALIZED (
  SELECT w.*, day, (day + w.opens) AT TIME ZONE w.timezone AS since,
         (day + w.closes + CASE WHEN w.closes > w.opens THEN interval '0' ELSE interval '1 day' END)
           AT TIME ZONE w.timezone AS until
    FROM rule CROSS JOIN (SELECT DISTINCT timezone, weekday, opens, closes FROM weekly_hours) AS w
   CROSS JOIN LATERAL generate_series(
     date_trunc('week', (:since AT TIME ZONE w.timezone) - interval '2 days') + make_interval(days => w.weekday - 1),
     (:until + rule.longest) AT TIME ZONE w.timezone, interval '7 days') AS day
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
), busy_level AS MATERIALIZED (
  SELECT c.id, level, range_agg(tstzrange(load.since, load.until)) AS times
    FROM rule CROSS JOIN candidate c
   CROSS JOIN LATERAL (
     SELECT change.at AS since, lead(change.at) OVER (ORDER BY change.at, change.step) AS until,
            CAST(sum(change.step) OVER (ORDER BY change.at, change.step) AS integer) AS bookings
       FROM claims k JOIN bookings b ON b.id = k.booking_id
      CROSS JOIN LATERAL (VALUES (k.since, 1), (k.until, -1)) AS change (at, step)
      WHERE k.resource_id = c.id AND k.is_blocking AND NOT is_expired(b.expires_at, :now)
        AND tstzrange(k.since, k.until) && tstzrange(
              :since - rule.setup, :until + rule.longest + rule.cleanup, '[]')
        AND b.id IS DISTINCT FROM CAST(:booking_id AS bigint)
   ) AS load
   CROSS JOIN LATERAL generate_series(1, least(load.bookings, c.capacity)) AS level
   WHERE load.since < load.until
   GROUP BY c.id, level
), seat_group AS MATERIALIZED (
  SELECT id, level, 1 AS seats, times FROM busy_level
  UNION ALL
  SELECT c.id, 0, c.capacity - count(b.id), '{}'
    FROM candidate c LEFT JOIN busy_level b ON b.id = c.id
   GROUP BY c.id, c.capacity HAVING c.capacity > count(b.id)
), start_range AS MATERIALIZED (
  SELECT g.id, g.level, g.seats, rule.step, p.timezone,
         CASE WHEN rule.days > 0 THEN p.open END AS open, CASE WHEN rule.days > 0 THEN g.times END AS times,
         (CASE WHEN rule.binds_at_ends THEN p.open * (
                 SELECT range_agg(tstzrange(lower(o) - rule.longest, upper(o) - rule.shortest, '[]'))
                   FROM unnest(p.open) AS o)
               ELSE (SELECT range_agg(tstzrange(lower(o), upper(o) - rule.shortest, '[]'))
                       FROM unnest(p.open) AS o WHERE upper(o) - rule.shortest >= lower(o)) END
          - coalesce((SELECT range_agg(tstzrange(lower(t) - rule.shortest - rule.cleanup, upper(t) + rule.setup, '()'))
                        FROM unnest(g.times) AS t), '{}'))
         * tstzmultirange(tstzrange(:since, :until) * tstzrange(rule.earliest, NULL)
                          * tstzrange(:now, (:now AT TIME ZONE p.timezone + make_interval(days => rule.horizon_days)) AT TIME ZONE p.timezone, '(]')) AS starts
    FROM rule CROSS JOIN seat_group g JOIN plan p USING (id)
), start AS (
  SELECT DISTINCT at, start_range.id, start_range.level, start_range.seats
    FROM rule CROSS JOIN start_range JOIN span s USING (id)
   CROSS JOIN LATERAL unnest(start_range.starts * tstzmultirange(tstzrange(s.since, s.until))) AS possible
   CROSS JOIN LATERAL generate_series(
     s.since
     + start_range.step * ceil(extract(epoch FROM lower(possible) - s.since) / extract(epoch FROM start_range.step)),
     upper(possible), start_range.step) AS at
   CROSS JOIN LATERAL (SELECT (at AT TIME ZONE start_range.timezone + make_interval(days => rule.days)) AT TIME ZONE start_range.timezone AS ends) AS visit
   WHERE possible @> at AND (rule.days = 0 OR (
     CASE WHEN rule.binds_at_ends THEN (start_range.open @> visit.ends OR start_range.open @> visit.ends - interval '1 microsecond')
          ELSE start_range.open @> tstzrange(at, visit.ends) END
     AND NOT start_range.times && tstzrange(at - rule.setup, visit.ends + rule.cleanup)))
), free_start AS (
  SELECT at, id, CAST(sum(seats) AS integer) AS seats FROM start GROUP BY at, id
)
SELECT free_start.at AS start_time, CASE WHEN rule.days > 0 THEN (free_start.at AT TIME ZONE c.timezone + make_interval(days => rule.days)) AT TIME ZONE c.timezone ELSE free_start.at + rule.duration END AS end_time,
       c.timezone,
       array_agg(c.id ORDER BY c.id) AS ids, array_agg(c.name ORDER BY c.id) AS names,
       array_agg(free_start.seats ORDER BY c.id) AS seats
  FROM rule CROSS JOIN free_start JOIN candidate c USING (id)
 GROUP BY free_start.at, rule.duration, rule.days, c.timezone
 ORDER BY free_start.at, c.timezone
 LIMIT :limit
