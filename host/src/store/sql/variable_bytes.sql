SELECT octet_length(v.sealed) AS bytes FROM variable AS v WHERE TRUE
