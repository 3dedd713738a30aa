-- Which alleles of the 1000 Genomes Project does ClinVar know, how frequent are they, and what does ClinVar say?
--
-- One row per pair of alleles that match; the slice thousand_genomes.variants_clinvar keeps it (lakeq refresh).
SELECT
    c.significance_rank,
    c.is_pathogenic,
    c.clinical_significance,
    c.gene,
    contig,
    pos,
    ref,
    alt,
    v.ac,
    v.an,
    v.af,
    v.ac_afr,
    v.an_afr,
    v.af_afr,
    v.ac_amr,
    v.an_amr,
    v.af_amr,
    v.ac_eas,
    v.an_eas,
    v.af_eas,
    v.ac_eur,
    v.an_eur,
    v.af_eur,
    v.ac_sas,
    v.an_sas,
    v.af_sas,
    c.rs,
    c.variation_id,
    c.review_status,
    c.conditions
FROM thousand_genomes.variants AS v
JOIN clinvar.grch37 AS c USING (contig, pos, ref, alt)
ORDER BY c.significance_rank, contig, pos, ref, alt, c.variation_id, c.clinical_significance
