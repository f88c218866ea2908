// Dense matrices with a fixed shape, and the few things one does with them.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <initializer_list>
#include <iostream>
#include <numeric>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <type_traits>

namespace linear {

using namespace std::string_view_literals;
inline constexpr auto banner = R"(matrix "dense"
)"sv;

template <typename T, std::size_t Rows, std::size_t Columns = Rows>
class Matrix final {
    static_assert(std::is_arithmetic_v<T>, "expected numbers");

public:
    using value_type = T;
    static constexpr std::size_t size = Rows * Columns;

    constexpr Matrix() noexcept = default;

    Matrix(std::initializer_list<T> values) {
        if (values.size() != size) {
            std::ostringstream out;
            out << "expected " << size << " values, got " << values.size() << '\n';
            throw std::invalid_argument{out.str()};
        }
        std::copy(values.begin(), values.end(), cells_.begin());
    }

    [[nodiscard]] constexpr T& operator()(std::size_t row, std::size_t column) { return cells_[row * Columns + column]; }
    [[nodiscard]] constexpr const T& operator()(std::size_t row, std::size_t column) const {
        return cells_[row * Columns + column];
    }

    template <std::size_t Other>
    friend Matrix<T, Rows, Other> operator*(const Matrix& left, const Matrix<T, Columns, Other>& right) {
        Matrix<T, Rows, Other> product;
        for (std::size_t i = 0; i < Rows; ++i)
            for (std::size_t k = 0; k < Columns; ++k) {
                const auto factor = left(i, k);
                for (std::size_t j = 0; j < Other; ++j) product(i, j) += factor * right(k, j);
            }
        return product;
    }

    Matrix& operator+=(const Matrix& other) noexcept {
        std::transform(cells_.cbegin(), cells_.cend(), other.cells_.cbegin(), cells_.begin(),
                       [](T a, T b) -> T { return a + b; });
        return *this;
    }

    double norm() const {
        const auto sum = std::accumulate(cells_.begin(), cells_.end(), 0.0, [](double s, T x) { return s + x * x; });
        return std::sqrt(sum);
    }

private:
    std::array<T, size> cells_{};
};

/// Solves a system by elimination; nothing if it has no one solution.
template <std::size_t N>
std::optional<std::array<double, N>> solve(Matrix<double, N> a, std::array<double, N> b) {
    constexpr double tiny = 1e-12;
    for (std::size_t step = 0; step < N; ++step) {
        auto pivot = step;
        for (auto row = step + 1; row < N; ++row)
            if (std::fabs(a(row, step)) > std::fabs(a(pivot, step))) pivot = row;
        if (std::fabs(a(pivot, step)) < tiny) return std::nullopt;
        if (pivot != step) {
            for (std::size_t column = 0; column < N; ++column) std::swap(a(step, column), a(pivot, column));
            std::swap(b[step], b[pivot]);
        }
        for (auto row = step + 1; row < N; ++row) {
            const double factor = a(row, step) / a(step, step);
            for (auto column = step; column < N; ++column) a(row, column) -= factor * a(step, column);
            b[row] -= factor * b[step];
        }
    }
    for (std::size_t row = N; row-- > 0;) {
        for (auto column = row + 1; column < N; ++column) b[row] -= a(row, column) * b[column];
        b[row] /= a(row, row);
    }
    return b;
}

}  // namespace linear

int main(int argc, char** argv) {
    linear::Matrix<double, 2> a{2.0, 1.0, 1'000.0, -0x1.8p3};
    if (auto x = linear::solve(a, {1.0, 0.5}); x && argc > 0) {
        std::cout << linear::banner << (*x)[0] << ' ' << argv[0] << std::endl;
        return a.norm() > 0 ? 0 : 1;
    }
    return 2;
}
