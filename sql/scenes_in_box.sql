-- Which Landsat scenes show something of a box, in some days, under so much cloud?
-- param: west float  western edge of the box, degrees, -180 to 180
-- param: south float  southern edge, degrees
-- param: east float  eastern edge, degrees; less than west for a box across the antimeridian
-- param: north float  northern edge, degrees
-- param: first_day date  first UTC day
-- param: last_day date  last UTC day
-- param: max_cloud float = 100  most cloud cover, percent; scenes of unknown cover are left out below 100
-- param: level string = 'L2'  beginning of the processing level: L1, L2, L2SP
--
-- The newest product of each scene, by time. A scene is taken whose bounds (west_lon to east_lon, bbox.ymin to
-- bbox.ymax) overlap the box; those of a scene list are where scenes of its path and row lie.
SELECT
    product_id,
    acquired,
    platform,
    path,
    row,
    processing_level,
    tier,
    round(CAST(cloud_cover AS DOUBLE), 2) AS cloud_cover,
    sun_elevation,
    west_lon,
    bbox.ymin AS south_lat,
    east_lon,
    bbox.ymax AS north_lat,
    footprint_source,
    folder
FROM landsat.scenes
WHERE
    year BETWEEN year($first_day) AND year($last_day)
    AND acquired >= CAST($first_day AS TIMESTAMP WITH TIME ZONE)
    AND acquired < CAST($last_day + 1 AS TIMESTAMP WITH TIME ZONE)
    AND cell BETWEEN 72 * CAST(floor(($south + 87) / 5) AS INTEGER)  -- rows of cells; a scene's middle is
    AND 72 * CAST(floor(($north + 93) / 5) AS INTEGER) + 71  -- less than 3 degrees from its edges
    AND bbox.ymin <= $north
    AND bbox.ymax >= $south
    AND ($west > $east OR (bbox.xmin <= $east AND bbox.xmax >= $west))
    AND (
        $east - $west >= 360
        OR (west_lon - $west + 720) % 360 <= ($east - $west + 360) % 360
        OR ($west - west_lon + 720) % 360 <= (east_lon - west_lon + 360) % 360
    )
    AND starts_with(processing_level, $level)
QUALIFY
    row_number() OVER (
        PARTITION BY platform, path, row, CAST(acquired AS DATE), substr(processing_level, 2, 1)
        ORDER BY
            collection DESC,
            coalesce(tier, '') = 'RT',
            processed DESC NULLS LAST,
            scene_id DESC NULLS LAST,
            epsg IS NULL,
            product_id DESC
    ) = 1
    AND ($max_cloud >= 100 OR cloud_cover <= $max_cloud)
ORDER BY acquired, product_id
