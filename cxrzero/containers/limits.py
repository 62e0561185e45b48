"""What is refused before it is read, or before more memory is taken for it."""

from __future__ import annotations

# A member is held in memory whole. No film needs more: a 43 × 43 cm detector at 100 µm makes 37 MB, scanned colour
# films reach 300 MB. As of raster files (`cxrzero.images.raster.MAX_FILE_BYTES`).
MAX_MEMBER_BYTES = 512 * 2**20
# A .zip file's members are sorted in memory, at about 170 bytes each: 340 MB. The largest public chest collections have
# 800,000 films.
MAX_MEMBERS = 2_000_000
# Of a .zip file's directory, which has 46 bytes and its name for each member: MAX_MEMBERS of 220 letters.
MAX_DIRECTORY_BYTES = 512 * 2**20
# The longest path of Linux (PATH_MAX).
MAX_NAME_BYTES = 4096
# Of a .tar file's headers beside the fixed ones (long names, pax): two names of MAX_NAME_BYTES and what else is stated
# take a hundredth.
MAX_HEADER_BYTES = 2**20
# Deflate makes at most 258 bytes of 2 bits (RFC 1951, 3.2.5): a header that claims more lies.
DEFLATE_RATIO = 1032
# A film of one value reaches DEFLATE_RATIO, others 2 to 30. What is larger than any single film may not.
MAX_RATIO = 200
RATIO_FREE_BYTES = 64 * 2**20
