#include "core/histogram.h"

#include "check.h"

static struct tdl_histogram histogram, total;

static void
clear(void)
{
    memset(&histogram, 0, sizeof histogram);
    memset(&total, 0, sizeof total);
}

static void
test_buckets_are_powers_of_two(void)
{
    clear();
    for (int i = 0; i < TDL_HISTOGRAM_BUCKETS - 1; i++) {
        tdl_histogram_add(&histogram, INT64_C(1) << i);
        tdl_histogram_add(&histogram, (INT64_C(2) << i) - 1);
        CHECK_INT(histogram.buckets[i], ==, 2);
    }
    CHECK_INT(tdl_histogram_count(&histogram), ==, 2 * (TDL_HISTOGRAM_BUCKETS - 1));
}

static void
test_ends(void)
{
    clear();
    tdl_histogram_add(&histogram, -5);
    tdl_histogram_add(&histogram, 0);
    CHECK_INT(histogram.buckets[0], ==, 2);
    CHECK_INT(histogram.sum, ==, 0);
    tdl_histogram_add(&histogram, INT64_MAX);
    CHECK_INT(histogram.buckets[TDL_HISTOGRAM_BUCKETS - 1], ==, 1);
    CHECK_INT(histogram.sum, ==, INT64_MAX);
}

static void
test_merge(void)
{
    uint64_t seed = 7, sum = 0;
    clear();
    for (int i = 0; i < 1000; i++) {
        int64_t ns = (int64_t)(check_random(&seed) >> 30);
        tdl_histogram_add(i % 3 ? &histogram : &total, ns);
        sum += (uint64_t)ns;
    }
    tdl_histogram_merge(&total, &histogram);
    CHECK_INT(tdl_histogram_count(&total), ==, 1000);
    CHECK_INT(total.sum, ==, sum);
}

CHECK_MAIN(TEST(test_buckets_are_powers_of_two), TEST(test_ends), TEST(test_merge))
