WITH listed AS MATERIALIZED ((SELECT 'next' AS list, b.* FROM bookings b WHERE (CAST(:resource_id AS bigint) IS NULL OR (b.resource_id = CAST(:resource_id AS bigint) OR CAST(:resource_id AS bigint) = ANY (b.other_resource_ids))) AND blocks_at(b.status, b.expires_at, :now) AND b.start_time >= :now AND b.start_time < :until
           ORDER BY b.start_time, b.id LIMIT :many) UNION ALL (SELECT 'pending' AS list, b.* FROM bookings b WHERE (CAST(:resource_id AS bigint) IS NULL OR (b.resource_id = CAST(:resource_id AS bigint) OR CAST(:resource_id AS bigint) = ANY (b.other_resource_ids))) AND b.status = 'pending' AND b.start_time >= :late AND b.expires_at IS NULL ORDER BY b.start_time, b.id LIMIT :many) UNION ALL (SELECT 'pending' AS list, b.* FROM bookings b WHERE (CAST(:resource_id AS bigint) IS NULL OR (b.resource_id = CAST(:resource_id AS bigint) OR CAST(:resource_id AS bigint) = ANY (b.other_resource_ids))) AND b.status = 'pending' AND b.start_time < :late AND b.start_time >= earliest_start(:late) AND (is_long(b.start_time, b.end_time) AND b.end_time >= :late)
           AND b.expires_at IS NULL ORDER BY b.start_time, b.id LIMIT :many) UNION ALL (SELECT 'late' AS list, b.* FROM bookings b WHERE (CAST(:resource_id AS bigint) IS NULL OR (b.resource_id = CAST(:resource_id AS bigint) OR CAST(:resource_id AS bigint) = ANY (b.other_resource_ids))) AND b.status = 'confirmed' AND b.start_time < :late AND NOT (is_long(b.start_time, b.end_time) AND b.end_time >= :late)
           ORDER BY b.start_time DESC, b.id DESC LIMIT :many) UNION ALL (SELECT 'late' AS list, b.* FROM bookings b WHERE (CAST(:resource_id AS bigint) IS NULL OR (b.resource_id = CAST(:resource_id AS bigint) OR CAST(:resource_id AS bigint) = ANY (b.other_resource_ids))) AND b.status = 'pending' AND b.start_time < :late AND NOT (is_long(b.start_time, b.end_time) AND b.end_time >= :late) AND b.expires_at IS NULL
           ORDER BY b.start_time DESC, b.id DESC LIMIT :many) UNION ALL (SELECT 'holds' AS list, b.* FROM bookings b WHERE (CAST(:resource_id AS bigint) IS NULL OR (b.resource_id = CAST(:resource_id AS bigint) OR CAST(:resource_id AS bigint) = ANY (b.other_resource_ids))) AND b.status = 'pending' AND b.expires_at > :now ORDER BY b.expires_at, b.id LIMIT :many)), numbered AS (
  SELECT listed.*, row_number() OVER by_list AS at, least(count(*) OVER (PARTITION BY list), :many) AS many
    FROM listed WINDOW by_list AS (
      PARTITION BY list ORDER BY CASE list WHEN 'holds' THEN expires_at WHEN 'late' THEN NULL ELSE start_time END,
                                 CASE list WHEN 'late' THEN start_time END DESC, id)
)
SELECT n.list, n.many, n.id, n.start_time, n.status, n.expires_at, n.user_id, u.name || coalesce(' for ' || n.visitor_name, '') AS customer,
       s.title AS service, s.is_active AS is_service_active, (
         SELECT jsonb_agg(
                  jsonb_build_object('id', r.id, 'name', r.name, 'is_active', r.is_active) ORDER BY taken.number)
           FROM unnest(n.resource_id || n.other_resource_ids) WITH ORDINALITY AS taken (id, number)
           JOIN resources r ON r.id = taken.id
       ) AS resources
  FROM numbered n JOIN users u ON u.id = n.user_id JOIN services s ON s.id = n.service_id
 WHERE n.at <= :max_rows
 ORDER BY n.list, n.at
