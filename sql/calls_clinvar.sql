-- Which alleles that ClinVar calls pathogenic does each sample of the 1000 Genomes Project carry?
--
-- One row per carried allele and sample; the slice thousand_genomes.calls_clinvar keeps it (lakeq refresh).
SELECT
    k.sample,
    contig,
    pos,
    ref,
    alt,
    k.alt_copies,
    k.allele_numbers,
    k.phased,
    c.significance_rank,
    c.clinical_significance,
    c.gene,
    c.rs,
    c.variation_id,
    c.review_status,
    c.conditions
FROM thousand_genomes.calls AS k
JOIN clinvar.grch37 AS c USING (contig, pos, ref, alt)
WHERE c.is_pathogenic
ORDER BY k.sample, contig, pos, ref, alt, c.variation_id, c.clinical_significance
