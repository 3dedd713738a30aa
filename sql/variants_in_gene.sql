-- Which variants lie in a gene, how frequent are they, and what does ClinVar say of them?
-- param: gene string = 'BRCA1'  the gene, as ClinVar spells it
-- param: flank int = 0  so many bases more on either side
--
-- The gene reaches from the first to the last allele that ClinVar ascribes to it alone.
WITH extent AS (
    SELECT contig, min(pos) - $flank AS first_pos, max(pos) + $flank AS last_pos
    FROM clinvar.grch37
    WHERE gene = $gene
    GROUP BY contig
),

known AS (
    SELECT contig, pos, ref, alt, clinical_significance, conditions
    FROM clinvar.grch37
    WHERE strpos('|' || gene || '|', '|' || $gene || '|') > 0
)

SELECT
    v.contig,
    v.pos,
    v.ref,
    v.alt,
    v.id,
    v.ac,
    v.an,
    v.af,
    k.clinical_significance,
    k.conditions
FROM thousand_genomes.variants AS v
JOIN extent AS e ON v.contig = e.contig AND v.pos BETWEEN e.first_pos AND e.last_pos
LEFT JOIN known AS k ON k.contig = v.contig AND k.pos = v.pos AND k.ref = v.ref AND k.alt = v.alt
ORDER BY v.contig, v.pos, v.ref, v.alt, k.clinical_significance
