// Asks the API through one published client, and prints what that gave its caller.
// node ask.js CLIENT URL

const CLIENTS = {
  "fixer-api": (url) => {
    const fixer = require("fixer-api");
    fixer.set({ baseUrl: url, accessKey: "any" });
    const some = { base: "USD", symbols: ["EUR", "GBP"] };
    return {
      date: () => fixer.forDate("2026-03-06", { symbols: ["USD", "GBP"] }),
      latest: () => fixer.latest(some),
      series: () => fixer.timeseries("2026-03-07", "2026-03-09", { symbols: ["USD"] }),
      conversion: () => fixer.convert("GBP", "JPY", 25, "2026-03-06"),
      error: () => fixer.latest({ base: "QQQ" }),
      symbols: () => fixer.symbols(),
    };
  },
  "exchange-rates-api": (url) => {
    const { exchangeRates } = require("exchange-rates-api");
    const rates = () => exchangeRates().setApiBaseUrl(url);
    return {
      date: () => rates().at("2026-03-06").symbols(["USD", "GBP"]).fetch(),
      latest: () => rates().latest().base("USD").symbols(["EUR", "GBP"]).fetch(),
      // Its series requests /history, which exchangeratesapi.io removed in 2021. Its convert() always uses that
      // service's address, and does this multiplication.
      conversion: async () => 25 * (await rates().at("2026-03-06").base("GBP").symbols("JPY").fetch()),
      error: () => rates().at("2026-03-07").fetch(),
    };
  },
};

const main = async ([client, url]) => {
  const given = {};
  for (const [question, ask] of Object.entries(CLIENTS[client](url))) {
    try {
      given[question] = await ask();
    } catch (error) {
      given[question] = `${error.name}: ${error.message}`;
    }
  }
  console.log(JSON.stringify(given));
};

main(process.argv.slice(2));
