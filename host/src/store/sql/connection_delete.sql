DELETE FROM connection WHERE id = $1
