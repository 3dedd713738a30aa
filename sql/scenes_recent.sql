-- Which Landsat scenes were taken in the year before the newest one?
--
-- The newest product of each scene and level (scenes_latest), by time; the slice landsat.scenes_recent keeps it
-- (lakeq refresh).
SELECT * EXCLUDE (_source)
FROM landsat.scenes_latest
WHERE acquired > (SELECT max(acquired) - INTERVAL 366 DAY FROM landsat.scenes_latest)
ORDER BY acquired, product_id
