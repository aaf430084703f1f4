WITH need AS MATERIALIZED (
  SELECT 1 AS position, s.role, coalesce(CAST(:seats AS integer), 1) AS seats,
         make_interval(mins => s.free_from_minutes) AS free_from,
         make_interval(mins => s.free_until_minutes) AS free_until
    FROM services s WHERE s.id = CAST(:service_id AS bigint)
  UNION ALL
  SELECT n.position, n.role, n.seats, make_interval(mins => n.free_from_minutes),
         make_interval(mins => n.free_until_minutes)
    FROM service_needs n WHERE n.service_id = CAST(:service_id AS bigint)
), rule AS MATERIALIZED (
  SELECT s.id AS service_id, s.price, s.slot_step_minutes IS NOT NULL AND NOT :for_desk AS has_step, length.*,
         coalesce(b.start_time - b.blocks_from, make_interval(mins => s.setup_minutes)) AS setup,
         coalesce(b.blocks_until - b.end_time, make_interval(mins => s.cleanup_minutes)) AS cleanup,
         make_interval(mins => coalesce(s.slot_step_minutes, s.duration_minutes)) AS step,
         :now + make_interval(mins => CASE WHEN :for_desk THEN 0 ELSE s.min_notice_minutes END) AS earliest,
         CASE WHEN NOT :for_desk THEN s.horizon_days END AS horizon_days,
         s.binds_hours_at_ends AS binds_at_ends, s.max_party, s.price_is_per_person, taken.*
    FROM services s LEFT JOIN bookings b ON false
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
      UNION ALL (
        SELECT n.position, nr.resource_id
          FROM service_needs n JOIN need_resources nr ON nr.need_id = n.id
         WHERE n.service_id = CAST(:service_id AS bigint)
           AND nr.resource_id = coalesce((CAST(:other_ids AS bigint[]))[n.position - 1], nr.resource_id))
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
), seat_group AS MATERIALIZED (
  SELECT id, level, 1 AS seats, times FROM busy_level WHERE position = 1
  UNION ALL
  SELECT c.id, 0, CAST(c.capacity - count(b.id) AS integer), '{}'
    FROM candidate c LEFT JOIN busy_level b ON b.position = 1 AND b.id = c.id
   WHERE c.position = 1
   GROUP BY c.id, c.capacity HAVING c.capacity > count(b.id)
), start_range AS MATERIALIZED (
  SELECT g.id, g.level, g.seats, rule.step, p.timezone, rough.*, p.free_from, p.free_until,
         CASE WHEN rough.is_rough THEN p.open END AS open, CASE WHEN rough.is_rough THEN g.times END AS times,
         CASE WHEN p.free_from IS NOT NULL THEN tstzmultirange(tstzrange(NULL, NULL))
              ELSE (CASE WHEN rule.binds_at_ends THEN p.open * (
                           SELECT range_agg(tstzrange(lower(o) - rule.longest, upper(o) - rule.shortest, '[]'))
                             FROM unnest(p.open) AS o)
                         ELSE (SELECT range_agg(tstzrange(lower(o), upper(o) - rule.shortest, '[]'))
                                 FROM unnest(p.open) AS o WHERE upper(o) - rule.shortest >= lower(o)) END
                    - coalesce((
                        SELECT range_agg(tstzrange(
                                 lower(t) - rule.shortest - rule.cleanup, upper(t) + rule.setup, '()'))
                          FROM unnest(g.times) AS t), '{}')) END
         * tstzmultirange(tstzrange(:since, :until) * tstzrange(rule.earliest, NULL)
                          * tstzrange(:now, (:now AT TIME ZONE p.timezone + make_interval(days => rule.horizon_days)) AT TIME ZONE p.timezone, '(]')) AS starts
    FROM rule CROSS JOIN seat_group g JOIN plan p ON p.position = 1 AND p.id = g.id
   CROSS JOIN LATERAL (SELECT rule.days > 0 OR p.free_from IS NOT NULL AS is_rough) AS rough
), start AS (
  SELECT DISTINCT at, start_range.id, start_range.level, start_range.seats
    FROM rule CROSS JOIN start_range JOIN span s USING (id)
   CROSS JOIN LATERAL unnest(start_range.starts * tstzmultirange(tstzrange(s.since, s.until))) AS possible
   CROSS JOIN LATERAL generate_series(
     s.since
     + start_range.step * ceil(extract(epoch FROM lower(possible) - s.since) / extract(epoch FROM start_range.step)),
     upper(possible), start_range.step) AS at
   CROSS JOIN LATERAL (SELECT CASE WHEN rule.days > 0 THEN (at AT TIME ZONE start_range.timezone + make_interval(days => rule.days)) AT TIME ZONE start_range.timezone ELSE at + rule.duration END AS ends) AS visit
   CROSS JOIN LATERAL (SELECT tstzmultirange(tstzrange(at, least(at + start_range.free_from, visit.ends)), tstzrange(least(at + start_range.free_until, visit.ends), visit.ends)) AS served) AS times
   WHERE possible @> at AND (NOT start_range.is_rough OR (
     CASE WHEN rule.binds_at_ends THEN coalesce(start_range.open @> lower(times.served) AND (start_range.open @> upper(times.served) OR start_range.open @> upper(times.served) - interval '1 microsecond'), true) ELSE start_range.open @> times.served END
     AND NOT start_range.times && tstzmultirange(CASE WHEN start_range.free_from = interval '0' THEN 'empty' ELSE tstzrange(at - rule.setup, least(at + start_range.free_from, visit.ends + rule.cleanup)) END, tstzrange(least(at + start_range.free_until, visit.ends + rule.cleanup), visit.ends + rule.cleanup))))
), free_start AS (
  SELECT at, id, CAST(sum(seats) AS integer) AS seats FROM start GROUP BY at, id
), other AS MATERIALIZED (
  SELECT p.position, p.role, p.id, p.name, p.free_from, p.free_until, p.open,
         CASE WHEN p.capacity < p.needed THEN '{(,)}' ELSE coalesce(b.times, '{}') END AS full
    FROM plan p
    LEFT JOIN busy_level b ON b.position = p.position AND b.id = p.id AND b.level = p.capacity - p.needed + 1
   WHERE p.position > 1
),
whole_start AS (
  SELECT f.at, f.id, c.name, f.seats, c.timezone, CASE WHEN rule.roles > 1 THEN (
           SELECT jsonb_agg(jsonb_build_object('position', o.position, 'role', o.role, 'resource_id', o.id,
                                               'name', o.name) ORDER BY o.position)
             FROM other o WHERE o.id = chosen.ids[o.position]) END AS others
    FROM rule CROSS JOIN free_start f JOIN candidate c ON c.position = 1 AND c.id = f.id
   CROSS JOIN LATERAL (SELECT CASE WHEN rule.days > 0 THEN (f.at AT TIME ZONE c.timezone + make_interval(days => rule.days)) AT TIME ZONE c.timezone ELSE f.at + rule.duration END AS ends) AS visit
   CROSS JOIN LATERAL (
     SELECT CASE WHEN rule.roles > 1 THEN (
       SELECT first_combination(ARRAY[f.id], array_agg(o.position ORDER BY o.position, o.id),
                                array_agg(o.id ORDER BY o.position, o.id), rule.roles)
         FROM other o
        WHERE CASE WHEN rule.binds_at_ends THEN coalesce(o.open @> lower(tstzmultirange(tstzrange(f.at, least(f.at + o.free_from, visit.ends)), tstzrange(least(f.at + o.free_until, visit.ends), visit.ends))) AND (o.open @> upper(tstzmultirange(tstzrange(f.at, least(f.at + o.free_from, visit.ends)), tstzrange(least(f.at + o.free_until, visit.ends), visit.ends))) OR o.open @> upper(tstzmultirange(tstzrange(f.at, least(f.at + o.free_from, visit.ends)), tstzrange(least(f.at + o.free_until, visit.ends), visit.ends))) - interval '1 microsecond'), true) ELSE o.open @> tstzmultirange(tstzrange(f.at, least(f.at + o.free_from, visit.ends)), tstzrange(least(f.at + o.free_until, visit.ends), visit.ends)) END
          AND NOT o.full && tstzmultirange(CASE WHEN o.free_from = interval '0' THEN 'empty' ELSE tstzrange(f.at - rule.setup, least(f.at + o.free_from, visit.ends + rule.cleanup)) END, tstzrange(least(f.at + o.free_until, visit.ends + rule.cleanup), visit.ends + rule.cleanup))) END AS ids
   ) AS chosen
   WHERE (rule.roles = 1 OR chosen.ids IS NOT NULL)
     AND (f.seats >= c.needed
          OR CASE WHEN c.free_from = interval '0' THEN f.at + c.free_until >= visit.ends + rule.cleanup END)
)
SELECT w.at AS start_time, CASE WHEN rule.days > 0 THEN (w.at AT TIME ZONE w.timezone + make_interval(days => rule.days)) AT TIME ZONE w.timezone ELSE w.at + rule.duration END AS end_time, w.timezone,
       array_agg(w.id ORDER BY w.id) AS ids, array_agg(w.name ORDER BY w.id) AS names,
       array_agg(w.seats ORDER BY w.id) AS seats,
       jsonb_agg(w.others ORDER BY w.id) FILTER (WHERE rule.roles > 1) AS others
  FROM rule CROSS JOIN whole_start w
 GROUP BY w.at, w.timezone, rule.days, rule.duration
 ORDER BY w.at, w.timezone
 LIMIT :limit
