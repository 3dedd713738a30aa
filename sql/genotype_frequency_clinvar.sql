-- How frequent are the genotypes that carry ClinVar's pathogenic alleles, in each super-population?
-- param: gene string = ''  only this gene, as ClinVar spells it; empty for all genes
--
-- What the query of 2016 computed: it counted genotypes, not alleles. One row per allele,
-- super-population and genotype that occurs: het (some alleles are alt), hom_alt (all are),
-- hemi (a single allele, and it is alt). The frequency is samples with the genotype among all
-- samples of the super-population that the allele's object has; NULL is the super-population of
-- samples without one.
WITH pathogenic AS (
    SELECT DISTINCT contig, pos, ref, alt, gene, rs, clinical_significance, conditions
    FROM clinvar.grch37
    WHERE
        is_pathogenic
        AND ($gene = '' OR strpos('|' || gene || '|', '|' || $gene || '|') > 0)
),

carriers AS (
    SELECT
        contig,
        pos,
        ref,
        alt,
        p.gene,
        p.rs,
        p.clinical_significance,
        p.conditions,
        g._source AS object,
        k.genotype,
        u.number
    FROM thousand_genomes.genotypes AS g
    JOIN pathogenic AS p USING (contig, pos, ref, alt)
    CROSS JOIN (VALUES ('het'), ('hom_alt'), ('hemi')) AS k (genotype)
    CROSS JOIN
        unnest(CASE k.genotype WHEN 'het' THEN g.het WHEN 'hom_alt' THEN g.hom_alt ELSE g.hemi END)
            AS u (number)
),

sizes AS (
    SELECT object, super_population, count(*) AS samples
    FROM (SELECT super_population, unnest(objects) AS object FROM thousand_genomes.samples)
    GROUP BY object, super_population
)

SELECT
    c.gene,
    c.contig,
    c.pos,
    c.ref,
    c.alt,
    c.rs,
    c.clinical_significance,
    c.conditions,
    s.super_population,
    c.genotype,
    count(*) AS n,
    z.samples,
    count(*) / CAST(z.samples AS DOUBLE) AS genotype_frequency
FROM carriers AS c
JOIN thousand_genomes.samples AS s ON s.number = c.number
JOIN sizes AS z
    ON z.object = c.object AND z.super_population IS NOT DISTINCT FROM s.super_population
GROUP BY
    c.gene, c.contig, c.pos, c.ref, c.alt, c.rs, c.clinical_significance, c.conditions,
    s.super_population, c.genotype, z.samples
ORDER BY genotype_frequency DESC, c.contig, c.pos, c.ref, c.alt, s.super_population, c.genotype
