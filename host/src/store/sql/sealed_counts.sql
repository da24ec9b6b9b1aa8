SELECT substr(sealed, 1, 9) AS header, count(*) AS amount
FROM (
    SELECT sealed FROM variable
    UNION ALL SELECT sealed_password FROM connection WHERE sealed_password IS NOT NULL
    UNION ALL SELECT sealed_extra FROM connection WHERE sealed_extra IS NOT NULL
    UNION ALL SELECT sealed FROM webhook
) AS kept
GROUP BY header
ORDER BY header
