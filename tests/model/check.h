/*
 * Checks in the models of tests
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Tests continue after a failed check, and fuzz targets stop.  A program that
 * links a model defines model_check_failed().
 */

#ifndef TESTS_MODEL_CHECK_H
#define TESTS_MODEL_CHECK_H

#include <cstdint>
#include <string>
#include <type_traits>

namespace shared_dma {

/* Report that the check in @file at @line failed with @what.  May return. */
void model_check_failed(const char *file, int line, const std::string &what);

template <typename T> std::string model_check_text(const T &value)
{
    if constexpr (std::is_enum_v<T>) {
        return std::to_string(static_cast<int64_t>(value));
    } else if constexpr (std::is_arithmetic_v<T>) {
        return std::to_string(value);
    } else if constexpr (std::is_convertible_v<T, const char *>) {
        const char *text = value;

        return text ? text : "null";
    } else {
        return "(not printable)";
    }
}

/* The checks return whether they hold. */
inline bool model_check(bool holds, const char *condition, const char *file,
                        int line)
{
    if (!holds) {
        model_check_failed(file, line,
                           std::string(condition) + " does not hold");
    }
    return holds;
}

template <typename A, typename B>
bool model_check_equal(const A &a, const B &b, const char *text,
                       const char *file, int line)
{
    const bool holds = a == b;

    if (!holds) {
        model_check_failed(file, line,
                           std::string(text) +
                               " are not equal: " + model_check_text(a) + ", " +
                               model_check_text(b));
    }
    return holds;
}

} // namespace shared_dma

#define MODEL_CHECK(condition) \
    shared_dma::model_check((condition), #condition, __FILE__, __LINE__)
#define MODEL_CHECK_EQUAL(a, b) \
    shared_dma::model_check_equal((a), (b), #a " and " #b, __FILE__, __LINE__)

#endif
