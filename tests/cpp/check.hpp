// A small test frame: TEST(name) { … CHECK(condition); … }; `main` runs every test of the binary.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace apb::test {

struct Test {
  const char* name;
  void (*body)();
};
inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}
struct Registration {
  Registration(const char* name, void (*body)()) { tests().push_back({name, body}); }
};

[[noreturn]] inline void fail(const char* file, int line, const char* condition) {
  std::fprintf(stderr, "%s:%d: CHECK(%s) failed\n", file, line, condition);
  std::exit(1);
}

// Calls of operator new in the whole process so far.
std::int64_t allocations();

}  // namespace apb::test

#define TEST(name)                                                          \
  static void name();                                                       \
  static const ::apb::test::Registration name##_registration(#name, &name); \
  static void name()
#define CHECK(...) ((__VA_ARGS__) ? static_cast<void>(0) : ::apb::test::fail(__FILE__, __LINE__, #__VA_ARGS__))
#define CHECK_THROWS(exception, ...)                                                        \
  do {                                                                                      \
    bool thrown = false;                                                                    \
    try {                                                                                   \
      static_cast<void>(__VA_ARGS__);                                                       \
    } catch (const exception&) {                                                            \
      thrown = true;                                                                        \
    }                                                                                       \
    if (!thrown) ::apb::test::fail(__FILE__, __LINE__, #__VA_ARGS__ " throws " #exception); \
  } while (false)
