// Drives @segment/analytics-node as it comes: node segment_node.mjs URL WRITE_KEY USER EVENTS
import { createRequire } from "node:module";

const require = createRequire(`${process.env.SIYU_NODE_PACKAGES}/`);
const { Analytics } = require("@segment/analytics-node");
const [url, writeKey, userId, events] = process.argv.slice(2);

const analytics = new Analytics({ writeKey, host: url, flushAt: 20, flushInterval: 200 });
analytics.on("error", (error) => {
  console.error(error);
  process.exitCode = 1;
});
for (let n = 0; n < Number(events); n += 1) {
  analytics.track({
    userId,
    event: "product_viewed",
    properties: { sku: `sku-${n}`, price: n + 0.5, name: "茶具" },
    context: { campaign: { source: "Douyin" } },
    timestamp: new Date(Date.UTC(2026, 0, 2, 3, 4, n % 60)),
  });
}
analytics.identify({ userId, traits: { level: "gold", phone: "13800138000" } });
analytics.page({ userId, name: "home", category: "shop" });
analytics.screen({ userId, name: "cart" });
analytics.group({ userId, groupId: "vip", traits: { size: 3 } });
analytics.alias({ userId, previousId: `${userId}-before` });
await analytics.closeAndFlush({ timeout: 30000 });
