-- Which product of each Landsat scene and level is the newest, when all that were ever made are kept?
--
-- Of one satellite, path, row, day and level: the higher collection, then a final tier before real time (RT), then
-- the later day of processing, then what knows its grid; the slice landsat.scenes_latest keeps it (lakeq refresh).
SELECT
    path,
    row,
    acquired,
    cloud_cover,
    bbox,
    product_id,
    processing_level,
    collection,
    tier,
    platform,
    sensor,
    west_lon,
    east_lon,
    year,
    cell,
    sun_elevation,
    sun_azimuth,
    epsg,
    utm_zone,
    lines,
    samples,
    pixel_size_m,
    x_origin_m,
    y_origin_m,
    scene_id,
    processed,
    wrs_type,
    cloud_cover_land,
    footprint,
    footprint_source,
    folder
FROM landsat.scenes
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
ORDER BY path, row, acquired, product_id
