-- How frequent is each allele of a region among samples of my own choice?
-- param: samples list<string>  the samples' names: A,B,C or ["A","B","C"]
-- param: contig string = '22'  contig of the region: 1 to 22, X, Y, MT
-- param: first_pos int = 1  first position of the region
-- param: last_pos int = 300000000  last position of the region
-- param: ploidy int = 2  alleles of a call: 2 on autosomes, 1 on MT and Y; on X choose samples of one sex
--
-- Carriers are exact for any ploidy. ac counts 1 for het, hemi and half missing, 2 for hom_alt: exact up to
-- ploidy 2. an is ploidy times the calls with an allele, less one for a carrier that is half missing.
WITH members AS (
    SELECT count(*) AS samples, array_agg(number) AS numbers
    FROM thousand_genomes.samples
    WHERE sample IN (SELECT unnest($samples))
),

counted AS (
    SELECT
        g.contig,
        g.pos,
        g.ref,
        g.alt,
        g.alt_index,
        m.samples,
        len(list_intersect(g.het, m.numbers)) AS n_het,
        len(list_intersect(g.hom_alt, m.numbers)) AS n_hom_alt,
        len(list_intersect(g.hemi, m.numbers)) AS n_hemi,
        len(list_intersect(g.half_missing, m.numbers)) AS n_half_missing,
        len(list_intersect(g.missing, m.numbers)) AS n_missing
    FROM thousand_genomes.genotypes AS g
    CROSS JOIN members AS m
    WHERE g.contig = $contig AND g.pos BETWEEN $first_pos AND $last_pos
)

SELECT
    contig,
    pos,
    ref,
    alt,
    samples,
    n_het,
    n_hom_alt,
    n_hemi,
    n_half_missing,
    n_missing,
    n_het + 2 * n_hom_alt + n_hemi + n_half_missing AS ac,
    $ploidy * (samples - n_missing) - n_half_missing AS an,
    (n_het + 2 * n_hom_alt + n_hemi + n_half_missing)
    / nullif(CAST($ploidy * (samples - n_missing) - n_half_missing AS DOUBLE), 0) AS af
FROM counted
WHERE samples > 0
ORDER BY contig, pos, ref, alt, alt_index
