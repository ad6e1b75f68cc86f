/* What the first byte of a value says. */
#ifndef TDL_PROCS_COMPACT_TAGS_H
#define TDL_PROCS_COMPACT_TAGS_H

enum tdl_compact_tag {
    TDL_TAG_NONE,
    TDL_TAG_TRUE,
    TDL_TAG_FALSE,
    TDL_TAG_INT,   /* number, the sign in its lowest bit */
    TDL_TAG_FLOAT, /* 8 bytes, as in memory */
    TDL_TAG_STR1,  /* number of characters; 1, 2 or 4 bytes each */
    TDL_TAG_STR2,
    TDL_TAG_STR4,
    TDL_TAG_BYTES, /* number of bytes, bytes */
    TDL_TAG_BYTEARRAY,
    TDL_TAG_BYTES_PART, /* number of the part */
    TDL_TAG_BYTEARRAY_PART,
    TDL_TAG_TUPLE, /* number of values, values */
    TDL_TAG_LIST,
    TDL_TAG_DICT,         /* number of pairs, key, value, key, ... */
    TDL_TAG_SAME,         /* number of an object that has come before */
    TDL_TAG_SMALL = 0x80, /* this one and above: an int from TDL_SMALL_FIRST on */
};

enum {
    TDL_SMALL_FIRST = -16,
    TDL_SMALL_LAST = TDL_SMALL_FIRST + 0x7f,
};

#endif
